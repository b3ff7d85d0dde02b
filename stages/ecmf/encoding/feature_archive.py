"""Read and write the features of many clips as one npz file.

Arrays: `clip_ids`, `values`, `starts` (absent if every clip has one row), and optionally `encoder`,
the name of the encoder. The archive is not compressed: network features hardly shrink, and an
uncompressed file can be memory-mapped and read clip by clip.
"""

import shutil
import struct
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from ecmf.errors import CorpusError
from ecmf.media import Vectors
from ecmf.storage.array_files import NpzArrays
from ecmf.storage.files import atomic_write

IDS, VALUES, STARTS, ENCODER = "clip_ids", "values", "starts", "encoder"
"""(clips,) and (rows, dim); clip i has rows starts[i] to starts[i + 1], or without starts row i."""

EPOCH = (1980, 1, 1, 0, 0, 0)
"""Timestamp of every file in the archive: equal rows give equal bytes."""


class FeatureArchive(Mapping[str, NDArray[Any]]):
    """Mapping of clip ids to a row (dim,) or rows (rows, dim), in the order of the file.

    Raises:
        CorpusError: the arrays do not agree, or an id occurs twice; names the file.
    """

    def __init__(self, path: Path) -> None:
        arrays = NpzArrays(path)
        clip_ids = [str(clip_id) for clip_id in arrays[IDS].tolist()]
        self.encoder = str(arrays[ENCODER]) if ENCODER in arrays else ""
        self._starts = arrays.get(STARTS)
        self._values = _values(path)
        self._indices = {clip_id: index for index, clip_id in enumerate(clip_ids)}
        if self._values.ndim < 2:
            raise CorpusError(f"{path}: {VALUES} has shape {self._values.shape}, not (rows, dim)")
        if self._starts is not None:
            _check_starts(path, self._starts, len(clip_ids), len(self._values))
        elif len(clip_ids) != len(self._values):
            raise CorpusError(f"{path}: {len(clip_ids)} {IDS}, but {len(self._values)} {VALUES}")
        if len(self._indices) < len(clip_ids):
            duplicate = next(c for index, c in enumerate(clip_ids) if self._indices[c] != index)
            raise CorpusError(f"{path}: clip {duplicate!r} occurs twice in {IDS}")

    def __getitem__(self, clip_id: str) -> NDArray[Any]:
        """Return the rows of a clip; raises KeyError if it is not in the archive."""
        index = self._indices[clip_id]
        if self._starts is None:
            return cast("NDArray[Any]", self._values[index])
        return self._values[self._starts[index] : self._starts[index + 1]]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the ids in the order of the file."""
        return iter(self._indices)

    def __len__(self) -> int:
        """Count the clips."""
        return len(self._indices)


def is_archive(names: Iterable[str]) -> bool:
    """Return whether arrays of these names form an archive, not one array per clip."""
    return {IDS, VALUES} <= set(names) <= {IDS, VALUES, STARTS, ENCODER}


def write_archive(path: Path, encoder: str, clips: Iterable[tuple[str, Vectors]]) -> None:
    """Write the rows (rows, dim) of each clip, with one clip in memory at a time.

    The caller ensures that there is a row and that all rows have the same width.
    """
    clip_ids, counts, dim = [], [], 0
    with tempfile.TemporaryFile(dir=path.parent) as rows, atomic_write(path) as part:
        for clip_id, values in clips:
            clip_ids.append(clip_id)
            counts.append(len(values))
            dim = values.shape[1]
            rows.write(np.ascontiguousarray(values, "<f4").tobytes())
        rows.seek(0)
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
            _add(archive, ENCODER, np.array(encoder))
            _add(archive, IDS, np.array(clip_ids))
            if set(counts) != {1}:
                _add(archive, STARTS, np.concatenate([[0], np.cumsum(counts)]).astype("<i8"))
            with _entry(archive, VALUES) as file:
                header = {"descr": "<f4", "fortran_order": False, "shape": (sum(counts), dim)}
                np.lib.format.write_array_header_1_0(file, header)
                shutil.copyfileobj(rows, file, 1 << 20)


def _add(archive: zipfile.ZipFile, name: str, array: NDArray[Any]) -> None:
    with _entry(archive, name) as file:
        np.lib.format.write_array(file, array, version=(1, 0), allow_pickle=False)


def _entry(archive: zipfile.ZipFile, name: str) -> BinaryIO:
    entry = zipfile.ZipInfo(f"{name}.npy", EPOCH)
    return cast("BinaryIO", archive.open(entry, "w", force_zip64=True))


def _values(path: Path) -> NDArray[Any]:
    """Memory-map `values` if it is uncompressed and in C order, else read it; check no checksum."""
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo(f"{VALUES}.npy")
        with archive.open(entry) as file:
            plain = np.lib.format.read_magic(file) == (1, 0)
            if plain and entry.compress_type == zipfile.ZIP_STORED:
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
                start = file.tell()
                if not (fortran or dtype.hasobject or 0 in shape):
                    offset = _data_offset(path, entry) + start
                    return np.memmap(path, dtype, "r", offset, shape)
    return NpzArrays(path)[VALUES]


def _data_offset(path: Path, entry: zipfile.ZipInfo) -> int:
    """Return the offset of an entry's data, after its 30-byte header, name and extra field."""
    with path.open("rb") as file:
        file.seek(entry.header_offset + 26)
        lengths = file.read(4)
    name, extra = struct.unpack("<HH", lengths)
    return entry.header_offset + 30 + int(name) + int(extra)


def _check_starts(path: Path, starts: NDArray[Any], clips: int, rows: int) -> None:
    if starts.shape != (clips + 1,) or starts.dtype.kind not in "iu":
        raise CorpusError(
            f"{path}: {STARTS} is {starts.dtype} {starts.shape}, not {clips + 1} integers for "
            f"{clips} {IDS}"
        )
    if starts[0] != 0 or starts[-1] != rows or (starts[1:] < starts[:-1]).any():
        raise CorpusError(f"{path}: {STARTS} does not rise from 0 to the {rows} rows of {VALUES}")
