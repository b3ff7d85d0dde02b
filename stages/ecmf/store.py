"""The only file format between stages: one array, and where each clip starts in it.

    values     (rows, *shape)   every row of every clip, in manifest order
    starts     (clips + 1,)     clip i owns rows starts[i] to starts[i + 1]
    clip_ids   (clips,)
    times      (rows,)          seconds from the start of the clip; absent where rows have a `rate`
    columns/…  (rows, …)        what else is known of each row, e.g. the box of a face
    facts/…    (clips,)         what else is known of each clip, e.g. its claimed duration
    states     (clips,)         whole, empty, flagged or failed
    reasons    (clips,)         why, in words
    digests    (clips,)         sha256 of the clip's rows and times

Pictures are stored as JPEG: `values` is then the bytes of all pictures one after the other, and
`pictures (rows + 1,)` says where each of them starts. The root attributes say what made the file.

A clip may own no row: a video in which no face was found is an empty clip, not a missing one. The
same content makes the same bytes; checksums (fletcher32) refuse a flipped one.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Literal, Self, get_args

import h5py
import numpy as np
from numpy.typing import NDArray

from ecmf.errors import MissingFileError, StoreError
from ecmf.media import Seconds

State = Literal["whole", "empty", "flagged", "failed"]
STATES: tuple[State, ...] = get_args(State)

BYTES_PER_CHUNK = 1 << 18
CHUNKS_PER_WRITE = 32


@dataclass(frozen=True)
class Layout:
    """What one row is: an array of `shape` and `dtype`, or a JPEG picture.

    `rate` is rows per second where rows are evenly spaced from 0 (a waveform): no times are kept.
    `columns` are further arrays per row, name -> shape, as float32.
    """

    shape: tuple[int, ...] = ()
    dtype: str = "float32"
    jpeg: bool = False
    rate: float | None = None
    columns: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Rows:
    """What a store holds of one clip.

    `values` is (rows, *shape), or a list of JPEG files. `times` is (rows,) in seconds. `reason`
    says why a clip is empty, flagged or failed.
    """

    values: NDArray[Any] | list[bytes]
    times: Seconds
    columns: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)
    state: State = "whole"
    reason: str = ""

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.values)

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        if isinstance(self.values, list):
            return sum(map(len, self.values))
        return int(self.values.nbytes)


Result = tuple[Rows, ...]
"""What a stage makes of one clip: rows for each of the stores it writes."""


def no_rows(
    layout: Layout, state: State, reason: str, facts: Mapping[str, float] | None = None
) -> Rows:
    """Rows of a clip that has none, and why."""
    columns = {name: np.empty((0, *shape), "float32") for name, shape in layout.columns.items()}
    values: NDArray[Any] | list[bytes] = (
        [] if layout.jpeg else np.empty((0, *layout.shape), layout.dtype)
    )
    return Rows(values, np.empty(0), columns, facts or {}, state, reason)


class Store(Mapping[str, Rows]):
    """A finished file, read as a mapping from clip id to that clip's rows, in manifest order.

    Raises:
        MissingFileError: there is no such file.
        StoreError: it is not a store, or its bytes were damaged.
    """

    def __init__(self, path: Path) -> None:
        """Open `path`; rows are read only when asked for."""
        if not path.is_file():
            raise MissingFileError(f"no store {path}: `dvc repro` makes it")
        self._path = path
        try:
            self._file = h5py.File(path)
            self._values = _Column(self._file["values"])
            self._times = _Column(self._file["times"]) if "times" in self._file else None
            self._columns = {name: _Column(data) for name, data in self._file["columns"].items()}
            self._starts = self._file["starts"][()]
            clip_ids = map(bytes.decode, self._file["clip_ids"][()])
            self._index = {clip_id: i for i, clip_id in enumerate(clip_ids)}
            self._states = self._file["states"][()]
            self._texts = self._file["reasons"]
            self._digests = self._file["digests"][()]
            self._pictures = self._file["pictures"][()] if "pictures" in self._file else None
            self._facts = {name: data[()] for name, data in self._file["facts"].items()}
        except (OSError, KeyError) as error:
            raise self._damaged(error, "no store, or damaged") from error
        attributes = self._file.attrs
        self._rate = float(attributes.get("rate", 0))
        self.layout = Layout(
            shape=() if self._pictures is not None else self._values.shape,
            dtype=str(self._values.dtype),
            jpeg=self._pictures is not None,
            rate=self._rate or None,
            columns={name: column.shape for name, column in self._columns.items()},
        )
        self.provenance: dict[str, Any] = json.loads(attributes["provenance"])

    def __getitem__(self, clip_id: str) -> Rows:
        """Rows of one clip; KeyError if the store has no such clip."""
        clip = self._index[clip_id]
        first, last = (int(row) for row in self._starts[clip : clip + 2])
        try:
            values = self._read(first, last)
            columns = {name: column[first:last] for name, column in self._columns.items()}
            times = (
                np.arange(last - first) / self._rate
                if self._times is None
                else self._times[first:last]
            )
        except OSError as error:
            raise StoreError(f"{self._path}: clip {clip_id!r} is damaged ({error})") from error
        facts = {name: float(data[clip]) for name, data in self._facts.items()}
        return Rows(values, times, columns, facts, *self.state(clip_id))

    def _read(self, first: int, last: int) -> NDArray[Any] | list[bytes]:
        if self._pictures is None:
            return self._values[first:last]
        bounds = self._pictures[first : last + 1].tolist()
        block = self._values[bounds[0] : bounds[-1]].data
        return [
            bytes(block[begin - bounds[0] : end - bounds[0]]) for begin, end in pairwise(bounds)
        ]

    def state(self, clip_id: str) -> tuple[State, str]:
        """How the clip came through, and why, without reading its rows."""
        clip = self._index[clip_id]
        return STATES[self._states[clip]], self._reasons[clip]

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where each clip begins in `all_values()`, (clips + 1,)."""
        return np.asarray(self._starts)

    def all_values(self) -> NDArray[Any]:
        """Rows of all clips at once, (rows, *shape)."""
        try:
            return self._values.all()
        except OSError as error:
            raise self._damaged(error) from error

    @cached_property
    def _reasons(self) -> list[str]:
        """Texts of variable length are slow to read, and training asks for none."""
        try:
            return [reason.decode() for reason in self._texts[()]]
        except OSError as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception, what: str = "damaged") -> StoreError:
        return StoreError(f"{self._path} is {what} ({error}): delete it and run again")

    def count(self, clip_id: str) -> int:
        """Count the rows of a clip without reading them."""
        clip = self._index[clip_id]
        return int(self._starts[clip + 1] - self._starts[clip])

    def digest(self, clip_id: str) -> str:
        """Return the sha256 of the clip's rows and times."""
        return bytes(self._digests[self._index[clip_id]]).decode()

    def __iter__(self) -> Iterator[str]:
        """Clip ids, in manifest order."""
        return iter(self._index)

    def __len__(self) -> int:
        """Count the clips."""
        return len(self._index)

    def __enter__(self) -> Self:
        """Use as `with Store(path) as faces:`."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()


class _Column:
    """A dataset read some rows at a time, in whole chunks: HDF5 checks no less than a chunk.

    The last chunk is kept, so clips that follow one another share its reading. What is given is a
    copy of one's own; threads may read at once.
    """

    def __init__(self, data: h5py.Dataset) -> None:
        self._data = data
        self._kept = 0, np.empty((0, *data.shape[1:]), data.dtype)
        self.shape: tuple[int, ...] = tuple(data.shape[1:])
        self.dtype = data.dtype

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        first, last = rows.start, rows.stop
        begin, kept = self._kept
        if first == last:
            return kept[:0].copy()
        if begin <= first and last <= begin + len(kept):
            return kept[first - begin : last - begin].copy()
        known = kept[first - begin :] if begin <= first else kept[:0]
        first += len(known)
        chunk = self._data.chunks[0]
        begin, end = first // chunk * chunk, -(-last // chunk) * chunk
        read = self._data[begin:end]
        self._kept = end - chunk, read[end - chunk - begin :].copy()
        return np.concatenate([known, read[first - begin : last - begin]])

    def all(self) -> NDArray[Any]:
        return np.asarray(self._data[()])


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
