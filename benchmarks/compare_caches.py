"""Compare the cost of the cache's packs, a file per clip and LMDB: put, plan and read.

`python benchmarks/compare_caches.py [--clips 20000]`, from the project's root. Results of
1 x 1024 float16 are put 32 at a time, as the engine does; a new instance lists missing keys;
another reads all in order and checks the SHA-256 of each. A file per clip is written under another
name and renamed, LMDB commits 32 clips at a time; none of the three waits for the disk.
CPU time, packs being 1, on ext4: a file per clip 15 to 20 to put, 0.4 to plan, 1.3 to read; LMDB
0.3, 0.3, 0.4. Disk: 1.8 for both, in 32 times the files and in 2. LMDB is fastest, but it locks and
must not be used on a network file system. Packs have none, so jobs of a cluster may share a folder;
they are few files to list, copy and prune; a kill leaves whole ones or none; and they cost less
than 0.1 ms a clip. It fails if a file per clip takes less CPU to put or to read than packs.
"""

import argparse
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Container, Mapping
from importlib import import_module, util
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "stages"))

from ecmf.execution import result_cache
from ecmf.execution.local import CLIPS_PER_PACK
from ecmf.storage.store import Layout, Result, Rows

lmdb = import_module("lmdb") if util.find_spec("lmdb") else None
DIM, ROUNDS, LARGEST_MAP = 1024, 5, 1 << 36


class Cache(NamedTuple):
    """Functions of a cache in a folder."""

    put: Callable[[Mapping[str, Result]], None]
    keys: Container[str]
    get: Callable[[str], object]


def _packs(folder: Path) -> Cache:
    os.environ["ECMF_CACHE"] = str(folder)
    cache = result_cache.ResultCache("compare_caches", (Layout((DIM,), "float16"),), {})
    return Cache(cache.put, cache, cache.get)


def _file_per_clip(folder: Path) -> Cache:
    keys = {entry.name for entry in os.scandir(folder)}

    def put(results: Mapping[str, Result]) -> None:
        for key, (rows,) in results.items():
            part = folder / f".{key}.part"
            part.write_bytes(_encode(rows))
            part.replace(folder / key)

    return Cache(put, keys, lambda key: _decode((folder / key).read_bytes()))


def _lmdb(folder: Path) -> Cache:
    data = lmdb.open(str(folder), map_size=LARGEST_MAP, sync=False)
    with data.begin() as transaction:
        keys = {key.decode() for key in transaction.cursor().iternext(values=False)}

    def put(results: Mapping[str, Result]) -> None:
        with data.begin(write=True) as transaction:
            for key, (rows,) in results.items():
                transaction.put(key.encode(), _encode(rows))

    return Cache(put, keys, lambda key: _decode(data.begin().get(key.encode())))


def _encode(rows: Rows) -> bytes:
    content = rows.values.tobytes() + rows.times.tobytes()
    return content + hashlib.sha256(content).digest()


def _decode(data: bytes) -> Rows:
    if hashlib.sha256(memoryview(data)[:-32]).digest() != data[-32:]:
        raise ValueError("damaged")
    values = np.frombuffer(data, "float16", DIM)[None]
    return Rows(values, np.frombuffer(data, "float64", 1, 2 * DIM))


def _costs(open_cache: Callable[[Path], Cache], clips: Mapping[str, Result]) -> dict[str, float]:
    figures, pairs = {}, list(clips.items())
    batches = [dict(pairs[at : at + CLIPS_PER_PACK]) for at in range(0, len(pairs), CLIPS_PER_PACK)]
    steps: dict[str, Callable[[Cache], object]] = {
        "put": lambda cache: [cache.put(batch) for batch in batches],
        "plan": lambda cache: [key for key in clips if key not in cache.keys],
        "read": lambda cache: [cache.get(key) and None for key in clips],
    }
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        for step, run in steps.items():
            cpu, wall = time.process_time(), time.perf_counter()
            run(open_cache(Path(folder)))
            figures[f"{step}, us of CPU"] = (time.process_time() - cpu) / len(pairs) * 1e6
            figures[f"{step}, us"] = (time.perf_counter() - wall) / len(pairs) * 1e6
        files = [path.stat() for path in Path(folder).rglob("*") if path.is_file()]
    return figures | {"files": len(files), "bytes on disk": sum(f.st_blocks * 512 for f in files)}


def main(clips: int) -> bool:
    """Print the table; return whether packs cost less CPU than a file per clip."""
    rng = np.random.default_rng(0)
    vectors = rng.random((clips, 1, DIM), "float32").astype("float16")
    results = {rng.bytes(32).hex(): (Rows(vector, np.zeros(1)),) for vector in vectors}
    kinds = {"packs": _packs, "file per clip": _file_per_clip} | ({"LMDB": _lmdb} if lmdb else {})
    rounds = [{name: _costs(kind, results) for name, kind in kinds.items()} for _ in range(ROUNDS)]
    print(f"{clips} clips" + ("" if lmdb else "; the package lmdb is not installed: skipped"))
    holds, judged = True, ("put, us of CPU", "read, us of CPU")
    for figure in rounds[0]["packs"]:
        line = f"{figure:16} packs {median(costs['packs'][figure] for costs in rounds):12,.1f}"
        for name in [*kinds][1:]:
            ratio = median(costs[name][figure] / costs["packs"][figure] for costs in rounds)
            line += f", {name} {ratio:5.2f} times that"
            holds = holds and (ratio > 1 or name == "LMDB" or figure not in judged)
        print(line)
    return holds


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=20_000)
    sys.exit(0 if main(parser.parse_args().clips) else 1)
