"""Measure megabytes written to and read from stores per second of CPU, with all checksums on.

`python benchmarks/store_speed.py [megabytes of each kind]`, from the project's root. "write" is
`append` clip by clip, with the check for NaN, SHA-256 of every clip, fletcher32 and fsync. Reading
opens the file and checks fletcher32: training reads "at once", stages that go clip by clip read "in
order", nothing reads "at random". CPU time of the process and of the system for it, best of several
alternating rounds. The bound is the unavoidable cost of a writer: SHA-256 of each clip, and h5py
writing the same array in one call.

It fails below 500 MB/s written or 1,000 MB/s read. For vectors of 2 kB only reading at once is
claimed: clip by clip the interpreter takes several times as long as the checksums of their bytes.
"""

import gc
import hashlib
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from support.cpu_time import best_cpu_seconds

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "stages"))

from ecmf.storage.store import Layout, Rows, Store
from ecmf.storage.store_writer import BYTES_PER_CHUNK, StoreWriter

ROUNDS, MEGABYTES, CLIPS_AT_RANDOM = 7, 100.0, 300
MIN_SPEED = {"write": 500, "read at once": 1_000, "read in order": 1_000}


class Kind(NamedTuple):
    """Clips of one layout, and the lines with a claim."""

    name: str
    layout: Layout
    clips: Mapping[str, Rows]
    claimed: tuple[str, ...]


def kinds(megabytes: float) -> list[Kind]:
    """Generate features of 16 frames, vectors of a clip and images, `megabytes` of each."""
    rng = np.random.default_rng(0)
    times = np.arange(16) / 4

    def normal(rows: int, dtype: str) -> Rows:
        return Rows(rng.standard_normal((rows, 1024), "float32").astype(dtype), times[:rows])

    def images() -> Rows:
        return Rows([rng.bytes(int(length)) for length in rng.integers(8e3, 16e3, 16)], times)

    def many(make: Callable[[], Rows]) -> dict[str, Rows]:
        return {f"clip_{n:06d}": make() for n in range(int(megabytes * 1e6 / make().nbytes))}

    rows, vectors, jpeg = Layout((1024,)), Layout((1024,), "float16"), Layout(jpeg=True)
    return [
        Kind("16 x 1024 float32", rows, many(lambda: normal(16, "float32")), tuple(MIN_SPEED)),
        Kind("1 x 1024 float16", vectors, many(lambda: normal(1, "float16")), ("read at once",)),
        Kind("16 JPEG", jpeg, many(images), ("write", "read in order")),
    ]


def lines(kind: Kind, folder: Path) -> dict[str, Callable[[], None]]:
    """Return the functions to time, by the name of a line."""
    path, bare = folder / "store.h5", folder / "bare.h5"
    drawn = np.random.default_rng(1).permutation(list(kind.clips))[:CLIPS_AT_RANDOM].tolist()
    values = [rows.values for rows in kind.clips.values()]
    if kind.layout.jpeg:
        values = [np.frombuffer(b"".join(images), "uint8") for images in values]
    array = np.concatenate(values)

    def bound() -> None:
        bare.unlink(missing_ok=True)
        for clip in values:
            hashlib.sha256(clip.data)
        with h5py.File(bare, "w") as file:
            chunks = (BYTES_PER_CHUNK // array[:1].nbytes, *array.shape[1:])
            file.create_dataset("values", data=array, chunks=chunks, fletcher32=True)

    def write() -> None:
        path.unlink(missing_ok=True)
        with StoreWriter(path, kind.layout, {}) as out:
            for clip_id, rows in kind.clips.items():
                out.append(clip_id, rows)

    def read(clip_ids: list[str] | None = None) -> None:
        with Store(path) as store:
            if clip_ids is None:
                store.read_values(np.empty_like(array))
            for clip_id in clip_ids or ():
                store[clip_id]

    return {
        "bound of writing": bound,
        "write": write,
        "read at once": read,
        "read in order": lambda: read(list(kind.clips)),
        f"{CLIPS_AT_RANDOM} at random": lambda: read(drawn),
    }


def main(megabytes: float = MEGABYTES) -> bool:
    """Print a table per kind of clip; return whether all claims hold."""
    holds, all_kinds = True, kinds(megabytes)
    gc.freeze()  # collecting the garbage of clips in memory is not part of a store's work
    for kind in all_kinds:
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
            fastest = best_cpu_seconds(lines(kind, Path(folder)), ROUNDS)
        seconds = {
            name: spent / (CLIPS_AT_RANDOM if "random" in name else len(kind.clips))
            for name, spent in fastest.items()
        }
        per_clip = sum(rows.nbytes for rows in kind.clips.values()) / len(kind.clips) / 1e6
        print(f"\n{kind.name}: {len(kind.clips)} clips of {per_clip * 1e3:.0f} kB")
        for name, spent in seconds.items():
            speed, verdict = per_clip / spent, ""
            if name in kind.claimed:
                verdict = f"; {MIN_SPEED[name]:,} hold: {speed >= MIN_SPEED[name]}"
                holds &= speed >= MIN_SPEED[name]
            print(f"  {name:16} {speed:6,.0f} MB/s, {spent * 1e6:6.1f} us per clip{verdict}")
    return holds


if __name__ == "__main__":
    sys.exit(0 if main(*map(float, sys.argv[1:])) else 1)
