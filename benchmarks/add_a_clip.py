"""Check that a clip more of 1,000 costs one clip of every stage, and a clip less nothing.

    python benchmarks/add_a_clip.py [--clips 1000]

Runs DVC in a copy of this checkout on a generated corpus of tiny recordings: the stages up to the
features run on all clips, then on one more, then again on those of the first run.
"""

import argparse
import csv
import functools
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "stages"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/support"))

from checkout import copy_project

from sample_corpus.animation import Pose
from sample_corpus.expression import Expression
from sample_corpus.scene import Scene

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("encode_frames", "encode_faces", "encode_audio", "encode_text")
COMPUTED = re.compile(r"engine: (\S+): \d+ clips, \d+ cached, (\d+) to compute")


def write_recording(path: Path, seed: int) -> None:
    """Write half a second of a drawn face and noise, different for every seed."""
    rng = np.random.default_rng(seed)
    neutral = Expression(*(0.0 for _ in Expression._fields))
    with av.open(str(path), "w") as file:
        video = file.add_stream("libx264", rate=8, options={"preset": "ultrafast"})
        audio = file.add_stream("aac", rate=16_000, layout="mono")
        for number in range(4):
            pose = Pose(neutral, 0.0, 0.0, 0.0, 0.0, 2.0 * number, rng.normal(0, 5))
            frame = av.VideoFrame.from_ndarray(scene().render(pose))
            if not number:
                video.width, video.height, video.pix_fmt = frame.width, frame.height, "yuv420p"
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        samples = rng.normal(0, 0.1, (1, 8192)).astype("float32")
        audio_frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        audio_frame.sample_rate = 16_000
        file.mux(audio.encode(audio_frame))
        file.mux(audio.encode(None))


@functools.cache
def scene() -> Scene:
    """Return the scene of one actor, drawn once."""
    return Scene(seed=7, actor=1)


class Checkout:
    """A copy of the project with its own corpus."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "ECMF_CACHE": str(folder / "cache")}
        self.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        copy_project(folder, without={"dvc.lock", "data/sample/dvc.lock"})
        params = folder / "params.yaml"
        params.write_text(params.read_text().replace("corpus: sample", "corpus: mine", 1))
        self.run("git", "init", "--quiet")

    def run(self, *command: str) -> str:
        """Run a command in the copy; return its output."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def list_clips(self, count: int) -> None:
        """Index a corpus of the first `count` clips, writing missing recordings."""
        raw = self.folder / "recordings"
        raw.mkdir(exist_ok=True)
        with (raw / "clips.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["clip_id", "video", "transcript", "speaker", "label"])
            for number in range(count):
                name = f"clip_{number:04}"
                if not (raw / f"{name}.mp4").exists():
                    write_recording(raw / f"{name}.mp4", number)
                said = f"A nice take {number}"  # a rated word, so that the enriched text differs
                line = [name, f"{name}.mp4", said, f"s{number % 9}", "ab"[number % 2]]
                writer.writerow(line)
        self.run("python", "-m", "ecmf", "index", "folder", "recordings", "--name", "mine")

    def run_stages(self) -> tuple[dict[str, int], bool]:
        """Run the stages; return the clips computed by each, and whether any stage ran."""
        output = self.run("dvc", "repro", *STAGES)
        computed = {name: int(count) for name, count in COMPUTED.findall(output)}
        return computed, "Running stage" in output


def main() -> int:
    """Print the cost of each step; return 1 if it is more than claimed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=1000)
    count = parser.parse_args().clips
    with tempfile.TemporaryDirectory() as folder:
        checkout = Checkout(Path(folder))
        results = {}
        for step, clips in (("all", count), ("one more", count + 1), ("one less", count)):
            checkout.list_clips(clips)
            results[step] = checkout.run_stages()
            print(f"{step:<9} {clips} clips: computed {results[step][0] or 'nothing'}", flush=True)
    first, more, less = results.values()
    holds = (
        set(first[0].values()) == {count}
        and set(more[0]) == set(first[0])
        and set(more[0].values()) == {1}
        and less == ({}, False)
    )
    print("holds" if holds else "BROKEN", ": one clip more is one call per encoder, less is none")
    return int(not holds)


if __name__ == "__main__":
    sys.exit(main())
