"""Compare loading the features of 27,369 clips x 3 modalities from stores and from npy files.

`python benchmarks/load_speed.py [folder for some 700 MB]`, from the project's root. As many clips
as MER2025 labels and asks for, vectors of 768, 1024 and 1024 numbers. Training reads stores
(`features.load_sources`, with checksums on); the other side opens each clip's .npy in turn and
stacks them. All files were read just before, so that no disk is measured. Both sides alternate;
medians and spread of processor time and of the clock.

It fails if the stores are not 10 times as fast by both.
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

CLIPS, ROUNDS, MIN_SPEEDUP = 27_369, 3, 10
SOURCES = {"face/a": 768, "audio/b": 1024, "text/c": 1024}
CLIP_IDS = [f"sample_{number:08}" for number in range(CLIPS)]


def write(folder: Path) -> dict[str, Path]:
    """Write the same random vectors both ways; return the store of each source."""
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
    """Load the features as training does."""
    return [source.values for source in load_sources(paths, CLIP_IDS)]


def from_files(paths: dict[str, Path]) -> list[np.ndarray]:
    """Load one file after another."""
    return [
        np.array([np.load(path.with_suffix("") / f"{clip_id}.npy")[0] for clip_id in CLIP_IDS])
        for path in paths.values()
    ]


def measure(
    read: Callable[[dict[str, Path]], object], paths: dict[str, Path]
) -> tuple[float, float]:
    """Return processor time and wall time in seconds."""
    processor, clock = time.process_time(), time.perf_counter()
    read(paths)
    return time.process_time() - processor, time.perf_counter() - clock


def main(folder: str = tempfile.gettempdir()) -> bool:
    """Print the times of both sides; return whether the claim holds."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        paths = write(Path(scratch))
        for a, b in zip(from_stores(paths), from_files(paths), strict=True):
            np.testing.assert_array_equal(a, b)
        rounds = [(measure(from_stores, paths), measure(from_files, paths)) for _ in range(ROUNDS)]
    holds = True
    for number, name in enumerate(("processor", "clock")):
        stores, files = ([side[number] for side in sides] for sides in zip(*rounds, strict=True))
        ratios = [slow / fast for fast, slow in zip(stores, files, strict=True)]
        speedup = statistics.median(ratios)
        print(
            f"{name:9} stores {statistics.median(stores):.2f} s, files "
            f"{statistics.median(files):.2f} s: {speedup:.1f} times as fast "
            f"({min(ratios):.1f} to {max(ratios):.1f}); "
            f"{MIN_SPEEDUP} times hold: {speedup >= MIN_SPEEDUP}"
        )
        holds &= speedup >= MIN_SPEEDUP
    return holds


if __name__ == "__main__":
    sys.exit(0 if main(*sys.argv[1:]) else 1)
