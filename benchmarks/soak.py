"""Decode many stub clips, some of them faulty, with kills; check the result and the memory.

Run from the project's root: `python benchmarks/soak.py --clips 10000 --kills 20`. Each clip is a
video of five frames with sound, of its own content; one in a hundred has each of FAULTS. A
reference run of `decode_video` is not disturbed. Then the stage starts again on an empty cache, and
its process group is ended by SIGKILL at random moments, so many times, until it completes. Checked:

- the run that completes leaves the stores of the reference, to the byte;
- every clip is in the stores, and fails exactly if its fault loses it;
- the memory of all processes grows by less than 200 MB after the first fifth of the reference,
  counted from its first result.

Exit code 1 if a check fails.
"""

import argparse
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

import numpy as np
import psutil
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "stages"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/support"))

from filming import film, tone

from ecmf.data.manifest import Clip, write_manifest
from ecmf.storage.store import Store

ROOT = Path(__file__).resolve().parents[1]
MAX_GROWTH = 200e6
POLL_SECONDS = 0.2
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"

FAULTS: Mapping[str, Callable[[bytes], bytes | None]] = {
    "no file": lambda _: None,
    "an empty file": lambda _: b"",
    "a text": lambda _: b"no video",
    "a pointer of git-lfs": lambda _: POINTER,
    "cut before its index": lambda data: data[: len(data) // 2],
    "another content than in the manifest": lambda data: data + struct.pack(">I4s", 8, b"free"),
}
"""Faults that lose the whole clip, as what they make of its bytes; None: no file."""

MENDED = {"damaged sound and pictures": lambda data: _overwrite(data)}
"""Faults after which a clip is flagged, failed in one of the stores, or even whole."""


def _overwrite(data: bytes) -> bytes:
    """Overwrite a twentieth of the media data, which stand before the index."""
    begin, length = data.index(b"mdat") + 200, len(data) // 20
    return data[:begin] + bytes(length) + data[begin + length :]


def make_clips(folder: Path, count: int) -> dict[str, str]:
    """Write the clips and their manifest; return the fault of each, "" for none."""
    base = film(folder / "base.mp4", 5, sound=tone(0.2, 16_000)[None]).read_bytes()
    kinds = [*FAULTS, *MENDED]
    faults, clips = {}, []
    for number in range(count):
        name, place = f"clip_{number:06d}", number % 100
        data = base + struct.pack(">I4sQ", 16, b"free", number)
        fault = kinds[place] if place < len(kinds) else ""
        changed = {**FAULTS, **MENDED}[fault](data) if fault else data
        path = folder / f"{name}.mp4"
        if changed is not None:
            path.write_bytes(changed)
        read = data if changed is None or fault.startswith("another") else changed
        clips.append(Clip(name, str(path), split="unlabelled", sha256=sha256(read).hexdigest()))
        faults[name] = fault
    write_manifest(clips, folder / "clips.csv")
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["decode_video"]["error_budget"] = 1.0
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    return faults


class Run:
    """A run of the stage into `name` with a cache of that name, started anew after each kill."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.frames, self.audio = (folder / f"{name}_{kind}.h5" for kind in ("frames", "audio"))
        self.cache = folder / f"{name}_cache"
        self.memory: list[int] = []

    def start(self, seconds: float | None = None) -> bool:
        """Run the stage; return False if it was killed after `seconds`."""
        command = [sys.executable, str(ROOT / "stages/decode_video.py"), "clips.csv"]
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "stages"),
            "ECMF_CACHE": str(self.cache),
        }
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                [*command, str(self.frames), str(self.audio)],
                cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
            began = time.monotonic()
            while process.poll() is None:
                if self.memory or any(self.cache.rglob("*.safetensors")):
                    self.memory.append(_memory(process.pid))
                time.sleep(POLL_SECONDS)
                if seconds is not None and time.monotonic() - began > seconds:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    return False
            if process.returncode:
                log.seek(0)
                raise RuntimeError(f"exit code {process.returncode}\n{log.read().decode()}")
        return True

    @property
    def stores(self) -> tuple[str, str]:
        """Hashes of the two stores."""
        return tuple(sha256(path.read_bytes()).hexdigest() for path in (self.frames, self.audio))

    @property
    def growth(self) -> int:
        """Bytes by which the memory became larger after the first fifth of the results."""
        early = self.memory[: max(5, len(self.memory) // 5)]
        return max(self.memory) - max(early)


def _memory(process: int) -> int:
    """Return the bytes that a process and its workers hold, shared pages counted once."""
    try:
        own = psutil.Process(process)
        return sum(each.memory_full_info().uss for each in [own, *own.children(recursive=True)])
    except psutil.Error:
        return 0


def check_states(run: Run, faults: Mapping[str, str]) -> list[str]:
    """Return what the stores say wrongly of the clips."""
    errors = []
    for path in (run.frames, run.audio):
        with Store(path) as store:
            if list(store) != list(faults):
                return [f"{path.name} has other clips than the manifest"]
            states = {name: store.state(name)[0] for name in store}
        for name, fault in faults.items():
            lost = fault in FAULTS
            if fault not in MENDED and states[name] != ("failed" if lost else "whole"):
                errors.append(f"{path.name}: {name} ({fault or 'intact'}) is {states[name]}")
    return errors


def main() -> int:
    """Make the clips, run the stage with and without kills, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ecmf-soak-") as name:
        folder = Path(name)
        faults = make_clips(folder, arguments.clips)
        reference, killed = Run(folder, "reference"), Run(folder, "killed")
        began = time.monotonic()
        reference.start()
        seconds = time.monotonic() - began
        draw, kills = np.random.default_rng(arguments.seed), 0
        while not killed.start(draw.uniform(0, seconds) if kills < arguments.kills else None):
            kills += 1
        errors = check_states(reference, faults)
        if killed.stores != reference.stores:
            errors.append("the stores after the kills are not those of the reference")
        if reference.growth > MAX_GROWTH:
            errors.append(f"the memory grew by more than {MAX_GROWTH / 1e6:.0f} MB")
    faulty = sum(map(bool, faults.values()))
    print(f"{len(faults)} clips, {faulty} of them faulty: {seconds:.0f} s undisturbed")
    print(f"{kills} kills; memory grew by {reference.growth / 1e6:.0f} MB", *errors, sep="\n")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
