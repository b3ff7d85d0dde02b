"""Stores: megabytes of values written and read per second of CPU, with all checksums on.

`python benchmarks/store_speed.py [megabytes of each kind]`, from the project's root. "write" is
`append` clip by clip: the check for NaN, SHA-256 of every clip, fletcher32 and fsync are in it.
Reading opens the file and checks fletcher32: "at once" is what the training does, "in order" what
all stages that go clip by clip do, "at random" what none does. CPU time of the process and of the
system for it, best of several rounds in which every line has its turn. The bound is what no writer
can save: SHA-256 of each clip, and h5py writing the same array by one call.

It fails below 500 MB/s written or 1,000 MB/s read. Vectors of 2 kB are judged read at once alone:
clip by clip the interpreter takes several times as long as the checksums of their bytes.
"""

import gc
import hashlib
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "stages"))

from ecmf.storage.store import Layout, Rows, Store
from ecmf.storage.store_writer import BYTES_PER_CHUNK, StoreWriter

ROUNDS, MEGABYTES, CLIPS_AT_RANDOM = 7, 100.0, 300
LEAST = {"write": 500, "read at once": 1_000, "read in order": 1_000}


class Kind(NamedTuple):
    """Clips of one layout, and which lines are judged."""

    name: str
    layout: Layout
    clips: Mapping[str, Rows]
    judged: tuple[str, ...]


def kinds(megabytes: float) -> list[Kind]:
    """Make features of 16 frames, vectors of a clip and pictures, so many megabytes of each."""
    rng = np.random.default_rng(0)
    times = np.arange(16) / 4

    def normal(rows: int, dtype: str) -> Rows:
        return Rows(rng.standard_normal((rows, 1024), "float32").astype(dtype), times[:rows])

    def pictures() -> Rows:
        return Rows([rng.bytes(int(length)) for length in rng.integers(8e3, 16e3, 16)], times)

    def many(make: Callable[[], Rows]) -> dict[str, Rows]:
        return {f"clip_{n:06d}": make() for n in range(int(megabytes * 1e6 / make().nbytes))}

    rows, vectors, jpeg = Layout((1024,)), Layout((1024,), "float16"), Layout(jpeg=True)
    return [
        Kind("16 x 1024 float32", rows, many(lambda: normal(16, "float32")), tuple(LEAST)),
        Kind("1 x 1024 float16", vectors, many(lambda: normal(1, "float16")), ("read at once",)),
        Kind("16 JPEG", jpeg, many(pictures), ("write", "read in order")),
    ]


def lines(kind: Kind, folder: Path) -> dict[str, Callable[[], None]]:
    """Name of a line -> what is timed."""
    path, bare = folder / "store.h5", folder / "bare.h5"
    drawn = np.random.default_rng(1).permutation(list(kind.clips))[:CLIPS_AT_RANDOM].tolist()
    values = [rows.values for rows in kind.clips.values()]
    if kind.layout.jpeg:
        values = [np.frombuffer(b"".join(pictures), "uint8") for pictures in values]
    array = np.concatenate(values)

    def bound() -> None:
        bare.unlink(missing_ok=True)
        for piece in values:
            hashlib.sha256(piece.data)
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
                store.all_values()
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
    """Print a table per kind of clip; returns whether all that is judged holds."""
    holds, chosen = True, kinds(megabytes)
    gc.freeze()  # that the clips are in memory is no work of the store's
    for kind in chosen:
        seconds: dict[str, float] = defaultdict(lambda: float("inf"))
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
            for name, run in [*lines(kind, Path(folder)).items()] * ROUNDS:
                begin = time.process_time()
                run()
                clips = CLIPS_AT_RANDOM if "random" in name else len(kind.clips)
                seconds[name] = min(seconds[name], (time.process_time() - begin) / clips)
        per_clip = sum(rows.nbytes for rows in kind.clips.values()) / len(kind.clips) / 1e6
        print(f"\n{kind.name}: {len(kind.clips)} clips of {per_clip * 1e3:.0f} kB")
        for name, spent in seconds.items():
            speed, verdict = per_clip / spent, ""
            if name in kind.judged:
                verdict = f"; {LEAST[name]:,} hold: {speed >= LEAST[name]}"
                holds &= speed >= LEAST[name]
            print(f"  {name:16} {speed:6,.0f} MB/s, {spent * 1e6:6.1f} us per clip{verdict}")
    return holds


if __name__ == "__main__":
    sys.exit(0 if main(*map(float, sys.argv[1:])) else 1)
