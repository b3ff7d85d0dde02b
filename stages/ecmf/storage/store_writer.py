"""Write a store (see `store.py`) clip by clip: the same content gives the same bytes."""

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from ecmf.errors import StoreError
from ecmf.media import Seconds
from ecmf.storage.files import atomic_write
from ecmf.storage.store import STATES, Layout, Rows
from ecmf.storage.store_digest import description_digest, text_digest
from ecmf.storage.unfailing_file import UnfailingFile

BYTES_PER_CHUNK = 1 << 18
CHUNKS_PER_WRITE = 32
ROWS_PER_BLOCK = 1 << 16


class StoreWriter:
    """Write a store clip by clip; the file appears only when it is complete.

    Raises:
        StoreError: rows do not match the layout, or contain NaN or infinity; names the clip.
        OSError: the disk is full, or fails otherwise.
    """

    def __init__(self, path: Path, layout: Layout, provenance: Mapping[str, Any]) -> None:
        """Create a file of rows with `layout`; `provenance` must be JSON."""
        self._layout = layout
        with ExitStack() as files:
            self._disk = UnfailingFile(files.enter_context(atomic_write(path)))
            files.callback(self._disk.close)
            self._files = files.pop_all()
        self._file = h5py.File(str(path), "w", driver="fileobj", fileobj=self._disk)
        self._provenance = json.dumps(provenance, sort_keys=True)
        self._file.attrs["provenance"] = self._provenance
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
        self._offsets = [0]
        self._states: list[int] = []
        self._reasons: list[str] = []
        self._digests: list[bytes] = []
        self._facts: dict[str, list[float]] = {}
        self._arrays: dict[str, NDArray[Any]] = {}

    def append(self, clip_id: str, rows: Rows) -> None:
        """Append the rows of the next clip."""
        count = len(rows)
        if self._layout.rate is None and len(rows.times) != count:
            raise StoreError(f"clip {clip_id!r}: {count} rows, but {len(rows.times)} times")
        arrays = self._check_values(clip_id, rows)
        times = np.asarray(rows.times, "float64")
        for array in arrays:
            self._blocks["values"].append(array)
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
        self._digests.append(self._digest(arrays, self._blocks_of_times(times, count)))
        for name in {*self._facts, *rows.facts}:
            values = self._facts.setdefault(name, [np.nan] * (len(self._clip_ids) - 1))
            values.append(rows.facts.get(name, np.nan))
        self._disk.check()

    def _check_values(self, clip_id: str, rows: Rows) -> list[NDArray[Any]]:
        """Return the checked values as a list of arrays; concatenating them would cost a copy."""
        if isinstance(rows.values, list):
            if not self._layout.jpeg:
                raise StoreError(f"clip {clip_id!r}: rows are JPEG files, not arrays")
            self._offsets += accumulate(map(len, rows.values), initial=self._offsets.pop())
            return [np.frombuffer(file, "uint8") for file in rows.values if file]
        if rows.values.shape[1:] != self._layout.shape or self._layout.jpeg:
            raise StoreError(
                f"clip {clip_id!r}: rows are {rows.values.shape[1:]}, not {self._layout.shape}"
            )
        values = np.ascontiguousarray(rows.values, self._dtype)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise StoreError(f"clip {clip_id!r}: rows contain NaN or infinity")
        return [values]

    def _blocks_of_times(self, times: Seconds, count: int) -> Iterator[Seconds]:
        """Yield the times of the rows, those of evenly spaced rows in blocks."""
        if self._layout.rate is None:
            yield times
            return
        for first in range(0, count, ROWS_PER_BLOCK):
            yield np.arange(first, min(first + ROWS_PER_BLOCK, count)) / self._layout.rate

    def _digest(self, arrays: Sequence[NDArray[Any]], times: Iterable[Seconds]) -> bytes:
        shape = (sum(map(len, arrays)), *self._shape)
        digest = hashlib.sha256(f"{self._dtype.str}{shape}".encode())
        for array in chain(arrays, times):
            digest.update(array.data)
        return digest.hexdigest().encode()

    def __enter__(self) -> Self:
        """Use as `with StoreWriter(path, layout, provenance) as out:`."""
        return self

    def __exit__(self, *failure: Any) -> None:
        """Finish the file if the block ended without an error, else leave nothing behind."""
        try:
            if failure[0] is None:
                self.finish()
        except BaseException:
            failure = sys.exc_info()
            raise
        finally:
            with suppress(Exception):  # what HDF5 thinks of a file that is not kept
                self._file.close()
            self._files.__exit__(*failure)
            self._disk.check()  # explains what HDF5 raised after an error it was not told of

    def finish(self) -> None:
        """Complete the temporary file on the disk; it gets its name at the end of the block."""
        if self._file:
            self._write_clips()
            self._file.close()
            self._disk.sync()

    def _write_clips(self) -> None:
        for block in self._blocks.values():
            block.flush()
        text = h5py.string_dtype()
        self._file.create_dataset("clip_ids", data=self._clip_ids, dtype=text)
        self._file.create_dataset("reasons", data=self._reasons, dtype=text)
        self._write("starts", np.asarray(self._starts, "int64"))
        self._write("states", np.asarray(self._states, "uint8"))
        self._write("digests", np.asarray(self._digests, "S64"))
        if self._layout.jpeg:
            self._write("pictures", np.asarray(self._offsets, "int64"))
        self._file.create_group("facts")
        for name, values in sorted(self._facts.items()):
            self._write(f"facts/{name}", np.asarray(values, "float64"))
        layout = replace(
            self._layout,
            shape=self._shape,
            dtype=str(self._dtype),
            rate=None if self._layout.rate is None else float(self._layout.rate),
        )
        self._file.attrs["digest"] = description_digest(
            asdict(layout), self._provenance, self._clip_ids, self._arrays
        )
        self._file.attrs["reasons_digest"] = text_digest(self._reasons)

    def _write(self, name: str, array: NDArray[Any]) -> None:
        """Write an array as one chunk with a checksum; HDF5 allows none for an empty array."""
        self._arrays[name] = array
        checksum = {"chunks": array.shape, "fletcher32": True} if len(array) else {}
        self._file.create_dataset(name, data=array, **checksum)


class _Block:
    """A growing dataset, written in whole chunks, many per call.

    Appended rows are copied at once, so the caller may change them afterwards.
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
        self._buffer = np.empty((per_chunk * CHUNKS_PER_WRITE, *shape), dtype)
        self._count = 0

    def append(self, rows: NDArray[Any]) -> None:
        while (end := self._count + len(rows)) > len(self._buffer):
            room = len(self._buffer) - self._count
            self._buffer[self._count :] = rows[:room]
            self._count, rows = len(self._buffer), rows[room:]
            self.flush()
        self._buffer[self._count : end] = rows
        self._count = end

    def flush(self) -> None:
        if self._count:
            first = len(self._data)
            self._data.resize(first + self._count, axis=0)
            self._data[first:] = self._buffer[: self._count]
        self._count = 0
