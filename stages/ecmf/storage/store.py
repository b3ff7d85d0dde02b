"""The HDF5 format of all arrays between stages: the rows of all clips and each clip's offset.

    values     (rows, *shape)   every row of every clip, in manifest order
    starts     (clips + 1,)     clip i has the rows starts[i] to starts[i + 1]
    clip_ids   (clips,)
    times      (rows,)          seconds from the start of the clip; absent where rows have a `rate`
    columns/…  (rows, …)        other data of each row, e.g. the box of a face
    facts/…    (clips,)         other numbers of each clip, e.g. its declared duration
    states     (clips,)         whole, empty, flagged or failed
    reasons    (clips,)         why a clip is empty, flagged or failed
    digests    (clips,)         sha256 of the clip's rows and times

Images are stored as JPEG: `values` is then the concatenated bytes of all images, and
`pictures (rows + 1,)` holds the offset of each. The root attribute `provenance` is JSON.

A clip without a row, e.g. a video without a face, is empty, not missing. The same content gives the
same bytes. Damage is detected: arrays have checksums (fletcher32); the root attributes `digest` and
`reasons_digest`, absent in older stores, are the sha256 of what HDF5 stores without one. A file is
never changed once it has its name, so none is locked: some network file systems have no locks.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self, get_args

import h5py
import numpy as np
from numpy.typing import NDArray

from ecmf.errors import MissingFileError, StoreError
from ecmf.media import Seconds
from ecmf.storage.disk import disk_error
from ecmf.storage.store_digest import description_digest, text_digest

State = Literal["whole", "empty", "flagged", "failed"]
STATES: tuple[State, ...] = get_args(State)


DAMAGE = (
    OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, IndexError, MemoryError
)  # fmt: skip
"""Exceptions of h5py for a damaged file."""


@dataclass(frozen=True)
class Layout:
    """Type of a row: an array of `shape` and `dtype`, or a JPEG image.

    `rate` is the number of rows per second of evenly spaced rows (a waveform), whose times are not
    stored. `columns` maps the names of other float32 arrays to their shapes per row.
    """

    shape: tuple[int, ...] = ()
    dtype: str = "float32"
    jpeg: bool = False
    rate: float | None = None
    columns: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Rows:
    """Rows of one clip.

    `values` is (rows, *shape), or a list of JPEG files. `times` is (rows,) in seconds; it is empty
    where the layout has a rate, since the times of hours of sound would take four times its memory.
    `reason` explains why a clip is empty, flagged or failed.
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
        """Count the bytes of the values."""
        if isinstance(self.values, list):
            return sum(map(len, self.values))
        return int(self.values.nbytes)


Result = tuple[Rows, ...]
"""Result of a stage for one clip: the rows for each store it writes."""


def no_rows(
    layout: Layout, state: State, reason: str, facts: Mapping[str, float] | None = None
) -> Rows:
    """Build the `Rows` of a clip that has none."""
    columns = {name: np.empty((0, *shape), "float32") for name, shape in layout.columns.items()}
    values: NDArray[Any] | list[bytes] = (
        [] if layout.jpeg else np.empty((0, *layout.shape), layout.dtype)
    )
    return Rows(values, np.empty(0), columns, facts or {}, state, reason)


class Store(Mapping[str, Rows]):
    """Read-only mapping from clip id to rows, in manifest order.

    Raises:
        MissingFileError: the file is absent.
        StoreError: the file is not a store, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        """Open `path`; rows are read on access."""
        if not path.is_file():
            raise MissingFileError(f"no store {path}: run `dvc repro` to create it")
        self._path = path
        with self._damage("not a store, or damaged"):
            self._file = h5py.File(path, locking=False)
            self._values = _Column(self._file["values"])
            self._times = _Column(self._file["times"]) if "times" in self._file else None
            self._columns = {name: _Column(data) for name, data in self._file["columns"].items()}
            self._starts = self._file["starts"][()]
            clip_ids = map(bytes.decode, self._file["clip_ids"][()])
            self._index = {clip_id: i for i, clip_id in enumerate(clip_ids)}
            self._states = self._file["states"][()]
            self._encoded_reasons = self._file["reasons"]
            self._digests = self._file["digests"][()]
            self._offsets = self._file["pictures"][()] if "pictures" in self._file else None
            self._facts = {name: data[()] for name, data in self._file["facts"].items()}
            attributes = dict(self._file.attrs)
            self._rate = float(attributes.get("rate", 0))
            self.layout = Layout(
                shape=() if self._offsets is not None else self._values.shape,
                dtype=str(self._values.dtype),
                jpeg=self._offsets is not None,
                rate=self._rate or None,
                columns={name: column.shape for name, column in self._columns.items()},
            )
            provenance = attributes["provenance"]
            self.provenance: dict[str, Any] = json.loads(provenance)
            self._reasons_digest = attributes.get("reasons_digest")
            arrays = {"starts": self._starts, "states": self._states, "digests": self._digests}
            arrays |= {f"facts/{name}": values for name, values in self._facts.items()}
            if self._offsets is not None:
                arrays["pictures"] = self._offsets
            digest = description_digest(asdict(self.layout), provenance, self._index, arrays)
            if attributes.get("digest", digest) != digest:
                raise ValueError("its clips, layout or provenance do not match their digest")

    @contextmanager
    def _damage(self, problem: str = "damaged") -> Iterator[None]:
        """Turn the exceptions of a damaged file into a StoreError, those of the disk into its own.

        A disk that does not answer damages nothing, and its message does not advise to delete.
        """
        try:
            yield
        except DAMAGE as error:
            of_disk = disk_error(error, self._path) if isinstance(error, OSError) else None
            raise of_disk or StoreError(
                f"{self._path} is {problem} ({error}): delete it and run again"
            ) from error

    def __getitem__(self, clip_id: str) -> Rows:
        """Read the rows of one clip; KeyError if the store has no such clip."""
        clip = self._index[clip_id]
        first, last = (int(row) for row in self._starts[clip : clip + 2])
        with self._damage(f"damaged at clip {clip_id!r}"):
            values = self._read(first, last)
            columns = {name: column[first:last] for name, column in self._columns.items()}
            times = self._read_times(first, last)
        facts = {name: float(data[clip]) for name, data in self._facts.items()}
        return Rows(values, times, columns, facts, *self.state(clip_id))

    def _read(self, first: int, last: int) -> NDArray[Any] | list[bytes]:
        if self._offsets is None:
            return self._values[first:last]
        bounds = self._offsets[first : last + 1].tolist()
        block = self._values[bounds[0] : bounds[-1]].data
        return [
            bytes(block[begin - bounds[0] : end - bounds[0]]) for begin, end in pairwise(bounds)
        ]

    def _read_times(self, first: int, last: int) -> Seconds:
        if self._times is None:
            return np.empty(0)
        return self._times[first:last]

    def times(self, clip_id: str) -> Seconds:
        """Read the times of one clip's rows, without their values."""
        clip = self._index[clip_id]
        first, last = (int(row) for row in self._starts[clip : clip + 2])
        with self._damage(f"damaged at clip {clip_id!r}"):
            return self._read_times(first, last)

    def state(self, clip_id: str) -> tuple[State, str]:
        """Return the state of a clip and the reason, without reading its rows."""
        clip = self._index[clip_id]
        return STATES[self._states[clip]], self._reasons[clip]

    @property
    def starts(self) -> NDArray[np.int64]:
        """Offset of each clip in the rows of all clips, (clips + 1,)."""
        return np.asarray(self._starts)

    @property
    def facts(self) -> Mapping[str, NDArray[np.float64]]:
        """Facts of all clips by name, (clips,); NaN for a clip without that fact."""
        return self._facts

    def read_values(self, out: NDArray[Any]) -> None:
        """Read the rows of all clips into `out`, (rows, *shape), and convert them to its type."""
        with self._damage():
            self._values.read(out)

    @cached_property
    def _reasons(self) -> list[str]:
        """Read on first use: strings are slow to read, and training does not need them."""
        with self._damage():
            reasons = [reason.decode() for reason in self._encoded_reasons[()]]
            if self._reasons_digest not in (None, text_digest(reasons)):
                raise ValueError("the reasons of its clips do not match their digest")
        return reasons

    def count(self, clip_id: str) -> int:
        """Count the rows of a clip without reading them."""
        clip = self._index[clip_id]
        return int(self._starts[clip + 1] - self._starts[clip])

    def digest(self, clip_id: str) -> str:
        """Return the SHA-256 of the clip's rows and times."""
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
    """A dataset read in whole chunks, the unit of HDF5's checksums.

    The last chunk is cached, because consecutive clips share it. Slices are copies, and threads may
    read concurrently.
    """

    def __init__(self, data: h5py.Dataset) -> None:
        self._data = data
        self._cached = 0, np.empty((0, *data.shape[1:]), data.dtype)
        self.shape: tuple[int, ...] = tuple(data.shape[1:])
        self.dtype = data.dtype

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        first, last = rows.start, rows.stop
        begin, cached = self._cached
        if first == last:
            return cached[:0].copy()
        if begin <= first and last <= begin + len(cached):
            return cached[first - begin : last - begin].copy()
        head = cached[first - begin :] if begin <= first else cached[:0]
        first += len(head)
        chunk = self._data.chunks[0]
        begin, end = first // chunk * chunk, -(-last // chunk) * chunk
        read = self._data[begin:end]
        self._cached = end - chunk, read[end - chunk - begin :].copy()
        return np.concatenate([head, read[first - begin : last - begin]])

    def read(self, out: NDArray[Any]) -> None:
        if len(self._data):  # HDF5 refuses to read nothing
            self._data.read_direct(out)
