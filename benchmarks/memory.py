"""Measure the memory of all processes of a training and of a refinement, against the features.

    python benchmarks/memory.py [--clips 5000 20000] [--workers 2]

Two sources of 256 numbers have 16 to 32 rows per clip. The stages run as in the pipeline; their
memory is the sum of the proportional set sizes (PSS) of all processes, sampled while they run: a
page that two processes map counts half in each. Interpreters and batches take the same whatever the
number of clips, so the memory at 1,200 clips is subtracted, and the features at 1,200 clips with
it. Fusions are trained for two epochs, since further ones take no more.
Claim: each takes at most 1.2 times its features, whatever the number of workers.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "stages"))

from ecmf.data.enriched_text import EnrichedText, write_texts
from ecmf.data.manifest import Clip, write_manifest
from ecmf.params import RefineLabels, Sources, TrainFusion, load_params
from ecmf.refinement import out_of_fold
from ecmf.storage.store import Layout, Rows
from ecmf.storage.store_writer import StoreWriter
from refine_labels import refine_labels
from train_fusion import train_fusion

CLASSES = ("angry", "happy", "neutral", "sad")
SOURCES = Sources({"frame": (), "face": (), "audio": ("made",), "text": ("made",)})
DIM, FEWEST_ROWS, MOST_ROWS = 256, 16, 32
SPEAKERS = 40
CLIPS_OF_BASE = 1_200
"""Enough that the largest batch, of predictions, is as large as in the others."""
LIMIT = 1.2
SECONDS_PER_SAMPLE = 0.2

out_of_fold.TRAINING = {**out_of_fold.TRAINING, "epochs": 2}  # in the workers too, by this import


def make(folder: Path, count: int) -> int:
    """Write manifest, texts, labels and features of a corpus; return the bytes of the features."""
    rng = np.random.default_rng(0)
    labels = rng.integers(len(CLASSES), size=count)
    clips = []
    for number, label in enumerate(labels):
        speaker = number % SPEAKERS
        split = "train" if speaker else "test"  # without a test split models do not vote
        clips.append(
            Clip(f"c{number}", speaker=f"s{speaker}", group=f"s{speaker}", split=split,
                 label=CLASSES[label])
        )  # fmt: skip
    write_manifest(clips, folder / "manifest.csv")
    write_texts(
        [
            EnrichedText(clip_id=c.clip_id, raw="", enriched="", provider="x", prompt_version="1")
            for c in clips
        ],
        folder / "text.jsonl",
    )
    numbers = 0
    for path in SOURCES.paths(folder / "features").values():
        with StoreWriter(path, Layout((DIM,)), {"encoder": "made"}) as out:
            for clip, label in zip(clips, labels, strict=True):
                rows = rng.integers(FEWEST_ROWS, MOST_ROWS + 1)
                values = rng.normal(label, 4, (rows, DIM)).astype("float32")
                out.append(clip.clip_id, Rows(values, np.arange(rows) / 4))
                numbers += values.size
    return 4 * numbers


def work(stage: str, folder: Path) -> None:
    """Run one of the two stages on the corpus of `folder`."""
    manifest, labels, features = folder / "manifest.csv", folder / "labels.csv", folder / "features"
    if stage == "refine_labels":
        refine = RefineLabels(refiner="confident_learning", fusion="concat", folds=2)
        votes, sources = folder / "votes.csv", folder / "sources.json"
        refine_labels(
            manifest, folder / "text.jsonl", features, labels, votes, sources, refine, SOURCES
        )
    else:
        train = TrainFusion(model="concat", folds=2, seeds=(0, 1), epochs=2)
        summary, curves = folder / "training.json", folder / "curves.csv"
        preparation = load_params().preparation
        train_fusion(
            manifest, labels, folder / "text.jsonl", features, folder / "model", summary, curves,
            train, SOURCES, preparation,
        )  # fmt: skip


def processes(root: int) -> Iterator[int]:
    """Yield a process and all of its descendants."""
    yield root
    for thread in Path(f"/proc/{root}/task").glob("*/children"):
        for child in thread.read_text().split():
            yield from processes(int(child))


def memory(root: int) -> int:
    """Return the PSS of a process and its descendants in bytes; what ended meanwhile has none."""
    total = 0
    for process in processes(root):
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def peak(stage: str, folder: Path, workers: int) -> int:
    """Run a stage in a process of its own, and return the most memory that it takes."""
    environment = {
        **os.environ, "ECMF_CACHE": str(folder / "cache"), "ECMF_WORKERS": str(workers),
        "ECMF_DEVICE": "cpu",
    }  # fmt: skip
    command = [sys.executable, __file__, "--stage", stage, "--folder", str(folder)]
    most = 0
    with (folder / f"{stage}.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        while process.poll() is None:
            most = max(most, memory(process.pid))
            time.sleep(SECONDS_PER_SAMPLE)
    if process.returncode:
        raise RuntimeError(f"{stage} failed:\n{(folder / f'{stage}.log').read_text()}")
    return most


def measure(clips: int, workers: int) -> tuple[int, dict[str, int]]:
    """Return the bytes of the features, and the most memory of each stage."""
    with tempfile.TemporaryDirectory() as folder:
        size = make(Path(folder), clips)
        stages = ("refine_labels", "train_fusion")
        return size, {stage: peak(stage, Path(folder), workers) for stage in stages}


def main(counts: list[int], workers: int) -> bool:
    """Print the ratios, and return whether each is within the limit."""
    base_size, base = measure(CLIPS_OF_BASE, workers)
    holds = True
    for count in counts:
        size, most = measure(count, workers)
        for stage, own in most.items():
            ratio = (own - base[stage]) / (size - base_size)
            holds &= ratio <= LIMIT
            print(
                f"{count} clips, {workers} workers, {stage}: {own / 1e6:.0f} MB with features of "
                f"{size / 1e6:.0f} MB, at {CLIPS_OF_BASE} clips {base[stage] / 1e6:.0f} MB: "
                f"{ratio:.2f} times the features; at most {LIMIT} holds: {ratio <= LIMIT}",
                flush=True,
            )
    return holds


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--clips", type=int, nargs="+", default=[5_000, 20_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stage:
        work(given.stage, given.folder)
    else:
        sys.exit(0 if main(given.clips, given.workers) else 1)
