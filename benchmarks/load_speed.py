"""Features of 27,369 clips x 3 modalities: from three stores, and from a file per clip of each.

`python benchmarks/load_speed.py [folder for some 700 MB]`, from the project's root. As many clips
as MER2025 labels and asks for, vectors of 768, 1024 and 1024 numbers. One side is what the training
does (`features.load_sources`, with the checksums of the stores on); the other opens each clip's
.npy in turn and stacks them. Both files were read just before, so that no disk is measured. Both
sides take turns; medians and spread of processor time and of the clock.

It fails where the stores are not 10 times as fast by both.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "stages"))

from ecmf.data.features import load_sources
from ecmf.storage.store import Layout, Rows
from ecmf.storage.store_writer import StoreWriter

CLIPS, ROUNDS, LEAST = 27_369, 3, 10
SOURCES = {"face/a": 768, "audio/b": 1024, "text/c": 1024}
CLIP_IDS = [f"sample_{number:08}" for number in range(CLIPS)]


def write(folder: Path) -> dict[str, Path]:
    """Write the same made vectors both ways; returns the store of each source."""
    rng, paths = np.random.default_rng(0), {}
    for name, dim in SOURCES.items():
        paths[name] = folder / f"{name.replace('/', '-')}.h5"
        files = paths[name].with_suffix("")
        files.mkdir()
        with StoreWriter(paths[name], Layout((dim,)), {}) as out:
            for clip_id in CLIP_IDS:
                row = rng.standard_normal((1, dim), "float32")
                out.append(clip_id, Rows(row, np.zeros(1)))
                np.save(files / f"{clip_id}.npy", row)
    return paths


def from_stores(paths: dict[str, Path]) -> list[np.ndarray]:
    """What the training reads."""
    return [source.values for source in load_sources(paths, CLIP_IDS)]


def from_files(paths: dict[str, Path]) -> list[np.ndarray]:
    """One file after another."""
    return [
        np.array([np.load(path.with_suffix("") / f"{clip_id}.npy")[0] for clip_id in CLIP_IDS])
        for path in paths.values()
    ]


def timed(read: Callable[[dict[str, Path]], object], paths: dict[str, Path]) -> tuple[float, float]:
    """Processor time and time on the clock."""
    processor, clock = time.process_time(), time.perf_counter()
    read(paths)
    return time.process_time() - processor, time.perf_counter() - clock


def main(folder: str = tempfile.gettempdir()) -> bool:
    """Print what each side takes; returns whether the claim holds."""
    with tempfile.TemporaryDirectory(dir=folder) as made:
        paths = write(Path(made))
        for ours, theirs in zip(from_stores(paths), from_files(paths), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        rounds = [(timed(from_stores, paths), timed(from_files, paths)) for _ in range(ROUNDS)]
    holds = True
    for number, name in enumerate(("processor", "clock")):
        ours, theirs = ([side[number] for side in sides] for sides in zip(*rounds, strict=True))
        ratios = [slow / fast for fast, slow in zip(ours, theirs, strict=True)]
        middle = statistics.median(ratios)
        print(
            f"{name:9} stores {statistics.median(ours):.2f} s, files "
            f"{statistics.median(theirs):.2f} s: {middle:.1f} times as fast "
            f"({min(ratios):.1f} to {max(ratios):.1f}); {LEAST} times hold: {middle >= LEAST}"
        )
        holds &= middle >= LEAST
    return holds


if __name__ == "__main__":
    sys.exit(0 if main(*sys.argv[1:]) else 1)
