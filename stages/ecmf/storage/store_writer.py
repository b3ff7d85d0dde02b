"""Write a store (see `store.py`) once, clip after clip: the same content makes the same bytes."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from ecmf.errors import StoreError
from ecmf.media import Seconds
from ecmf.storage.store import STATES, Layout, Rows

BYTES_PER_CHUNK = 1 << 18
CHUNKS_PER_WRITE = 32


class StoreWriter:
    """Write a store once, clip after clip; the file appears only when it is complete.

    Raises:
        StoreError: rows do not fit the layout, or hold NaN or infinity; names the clip.
    """

    def __init__(self, path: Path, layout: Layout, provenance: Mapping[str, Any]) -> None:
        """Start a file whose rows have `layout`; `provenance` must be JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._part = path, path.with_name(f".{path.name}.part")
        self._layout = layout
        self._file = h5py.File(self._part, "w")
        self._file.attrs["provenance"] = json.dumps(provenance, sort_keys=True)
        if layout.rate is not None:
            self._file.attrs["rate"] = layout.rate
        self._shape = () if layout.jpeg else layout.shape
        self._dtype = np.dtype("uint8" if layout.jpeg else layout.dtype)
        self._blocks = {"values": _Block(self._file, "values", self._shape, self._dtype)}
        if layout.rate is None:
            self._blocks["times"] = _Block(self._file, "times", (), np.dtype("float64"))
        self._file.create_group("columns")
        for name, column in sorted(layout.columns.items()):
            self._blocks[f"columns/{name}"] = _Block(
                self._file, f"columns/{name}", column, np.dtype("float32")
            )
        self._clip_ids: list[str] = []
        self._starts = [0]
        self._pictures = [0]
        self._states: list[int] = []
        self._reasons: list[str] = []
        self._digests: list[bytes] = []
        self._facts: dict[str, list[float]] = {}

    def append(self, clip_id: str, rows: Rows) -> None:
        """Add the rows of the next clip."""
        count = len(rows)
        if len(rows.times) != count:
            raise StoreError(f"clip {clip_id!r}: {count} rows, but {len(rows.times)} times")
        pieces = self._checked(clip_id, rows)
        times = np.asarray(rows.times, "float64")
        for piece in pieces:
            self._blocks["values"].append(piece)
        if "times" in self._blocks:
            self._blocks["times"].append(times)
        for name, shape in self._layout.columns.items():
            column = np.asarray(rows.columns[name], "float32")
            if column.shape != (count, *shape):
                raise StoreError(
                    f"clip {clip_id!r}: column {name} is {column.shape}, not {(count, *shape)}"
                )
            self._blocks[f"columns/{name}"].append(column)
        self._clip_ids.append(clip_id)
        self._starts.append(self._starts[-1] + count)
        self._states.append(STATES.index(rows.state))
        self._reasons.append(rows.reason)
        self._digests.append(self._digest(pieces, times))
        for name in {*self._facts, *rows.facts}:
            known = self._facts.setdefault(name, [np.nan] * (len(self._clip_ids) - 1))
            known.append(rows.facts.get(name, np.nan))

    def _checked(self, clip_id: str, rows: Rows) -> list[NDArray[Any]]:
        """Return the values in as many pieces as they come in: joining them would cost a copy."""
        if isinstance(rows.values, list):
            if not self._layout.jpeg:
                raise StoreError(f"clip {clip_id!r}: rows are JPEG files, not arrays")
            self._pictures += accumulate(map(len, rows.values), initial=self._pictures.pop())
            return [np.frombuffer(picture, "uint8") for picture in rows.values if picture]
        if rows.values.shape[1:] != self._layout.shape or self._layout.jpeg:
            raise StoreError(
                f"clip {clip_id!r}: rows are {rows.values.shape[1:]}, not {self._layout.shape}"
            )
        values = np.ascontiguousarray(rows.values, self._dtype)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise StoreError(f"clip {clip_id!r}: rows hold NaN or infinity")
        return [values]

    def _digest(self, pieces: Sequence[NDArray[Any]], times: Seconds) -> bytes:
        shape = (sum(map(len, pieces)), *self._shape)
        digest = hashlib.sha256(f"{self._dtype.str}{shape}".encode())
        for piece in (*pieces, times):
            digest.update(piece.data)
        return digest.hexdigest().encode()

    def __enter__(self) -> Self:
        """Use as `with StoreWriter(path, layout, provenance) as out:`."""
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        """Keep the file if all went well, leave nothing behind if not."""
        try:
            try:
                if failure is None:
                    self._finish()
            finally:
                self._file.close()
            if failure is None:
                with self._part.open("rb+") as file:
                    os.fsync(file.fileno())
                self._part.replace(self._path)
        finally:
            self._part.unlink(missing_ok=True)

    def _finish(self) -> None:
        for block in self._blocks.values():
            block.flush()
        text = h5py.string_dtype()
        self._file.create_dataset("clip_ids", data=self._clip_ids, dtype=text)
        self._file.create_dataset("reasons", data=self._reasons, dtype=text)
        self._keep("starts", np.asarray(self._starts, "int64"))
        self._keep("states", np.asarray(self._states, "uint8"))
        self._keep("digests", np.asarray(self._digests, "S64"))
        if self._layout.jpeg:
            self._keep("pictures", np.asarray(self._pictures, "int64"))
        self._file.create_group("facts")
        for name, known in sorted(self._facts.items()):
            self._keep(f"facts/{name}", np.asarray(known, "float64"))

    def _keep(self, name: str, array: NDArray[Any]) -> None:
        """Write an array whole, with a checksum; HDF5 has none for an empty one."""
        checked = {"chunks": array.shape, "fletcher32": True} if len(array) else {}
        self._file.create_dataset(name, data=array, **checked)


class _Block:
    """A dataset that grows by whole chunks: each is checked and written once, many by one call.

    What is appended is copied at once, so it may change afterwards.
    """

    def __init__(
        self, file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        per_row = int(np.prod(shape, dtype=int)) * dtype.itemsize
        per_chunk = max(1, BYTES_PER_CHUNK // max(per_row, 1))
        self._data = file.create_dataset(
            name,
            (0, *shape),
            dtype,
            maxshape=(None, *shape),
            chunks=(per_chunk, *shape),
            fletcher32=True,
        )
        self._waiting = np.empty((per_chunk * CHUNKS_PER_WRITE, *shape), dtype)
        self._count = 0

    def append(self, rows: NDArray[Any]) -> None:
        while (end := self._count + len(rows)) > len(self._waiting):
            room = len(self._waiting) - self._count
            self._waiting[self._count :] = rows[:room]
            self._count, rows = len(self._waiting), rows[room:]
            self.flush()
        self._waiting[self._count : end] = rows
        self._count = end

    def flush(self) -> None:
        if self._count:
            first = len(self._data)
            self._data.resize(first + self._count, axis=0)
            self._data[first:] = self._waiting[: self._count]
        self._count = 0
