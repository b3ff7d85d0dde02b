"""File format of the result cache: a pack is a safetensors file with the results of some clips.

    <number>/values, <number>/times, <number>/columns/<name>    of the number-th store, clip by clip
    metadata["clips"]        JSON by clip: rows, state, reason, facts in each store, and a digest

The digest of a clip is the sha256 of its arrays and metadata, so damage is located to the clip.
"""

import hashlib
import json
from collections.abc import Mapping
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from ecmf.storage.store import Layout, Result, Rows

DIGEST = "digest"

UNREADABLE = (ValueError, KeyError, IndexError, TypeError, safetensors.SafetensorError)
"""Exceptions that reading a damaged pack can raise."""


def read_keys(path: Path) -> list[str]:
    """List the keys of the clips in a pack, without reading their results."""
    with safetensors.safe_open(path, "numpy") as file:
        return list(json.loads(file.metadata()["clips"]))


def pack(
    results: Mapping[str, Result], layouts: tuple[Layout, ...]
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Concatenate the arrays of all results; return the tensors and the metadata of a pack."""
    tensors: dict[str, NDArray[Any]] = {}
    entries: dict[str, list[dict[str, Any]]] = {key: [] for key in results}
    digests = {key: hashlib.sha256(key.encode()) for key in results}
    for number, layout in enumerate(layouts):
        arrays: dict[str, list[NDArray[Any]]] = {}
        for key, result in results.items():
            rows = result[number]
            entry: dict[str, Any] = {
                "rows": len(rows), "state": rows.state, "reason": rows.reason,
                "facts": dict(rows.facts),
            }  # fmt: skip
            if layout.jpeg:
                entry["bytes"] = [len(file) for file in rows.values]
            entries[key].append(entry)
            digests[key].update(json.dumps(entry, sort_keys=True).encode())
            for name, array in _arrays(rows, layout).items():
                arrays.setdefault(f"{number}/{name}", []).append(array)
                digests[key].update(array.data)
        tensors |= {name: np.concatenate(pieces) for name, pieces in arrays.items()}
    clips = {key: [*entries[key], {DIGEST: digests[key].hexdigest()}] for key in results}
    return tensors, {"clips": json.dumps(clips)}


def _arrays(rows: Rows, layout: Layout) -> dict[str, NDArray[Any]]:
    values = (
        np.frombuffer(b"".join(rows.values), "uint8")
        if layout.jpeg
        else np.ascontiguousarray(rows.values, layout.dtype)
    )
    arrays = {"values": values}
    if layout.rate is None:
        arrays["times"] = np.ascontiguousarray(rows.times, "float64")
    for name in sorted(layout.columns):
        arrays[f"columns/{name}"] = np.ascontiguousarray(rows.columns[name], "float32")
    return arrays


def read(path: Path, layouts: tuple[Layout, ...]) -> tuple[dict[str, Result], list[str]]:
    """Return the intact results of a pack, and the keys of the damaged ones."""
    with safetensors.safe_open(path, "numpy") as file:
        clips: dict[str, list[dict[str, Any]]] = json.loads(file.metadata()["clips"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    digests = {key: hashlib.sha256(key.encode()) for key in clips}
    results: dict[str, list[Rows]] = {key: [] for key in clips}
    for number, layout in enumerate(layouts):
        row = byte = 0
        for key, entries in clips.items():
            entry = entries[number]
            digests[key].update(json.dumps(entry, sort_keys=True).encode())
            count = entry["rows"]
            length = sum(entry["bytes"]) if layout.jpeg else count
            first = byte if layout.jpeg else row
            values: Any = tensors[f"{number}/values"][first : first + length]
            digests[key].update(values.data)
            if layout.jpeg:
                ends = accumulate(entry["bytes"], initial=0)
                values = [values[a:b].tobytes() for a, b in pairwise(ends)]
            times = np.empty(0)
            if layout.rate is None:
                times = tensors[f"{number}/times"][row : row + count]
                digests[key].update(times.data)
            columns = {}
            for name in sorted(layout.columns):
                columns[name] = tensors[f"{number}/columns/{name}"][row : row + count]
                digests[key].update(columns[name].data)
            results[key].append(
                Rows(values, times, columns, entry["facts"], entry["state"], entry["reason"])
            )
            row, byte = row + count, byte + length
    damaged = [key for key, (*_, last) in clips.items() if digests[key].hexdigest() != last[DIGEST]]
    return {key: tuple(rows) for key, rows in results.items() if key not in set(damaged)}, damaged
