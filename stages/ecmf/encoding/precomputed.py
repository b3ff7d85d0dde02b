"""Look up precomputed features by clip id in a csv file, an npz file or a folder of npy files.

A clip that is not in the file has no row. An npz file holds an array per clip, or all clips as in
`feature_archive`. The encoder in the provenance is the one stated in the file (`ecmf import` writes
it), else the file's name.
"""

import csv
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ecmf import registry
from ecmf.config import Section
from ecmf.encoding.feature_archive import FeatureArchive, is_archive
from ecmf.errors import CorpusError, ParamsError
from ecmf.media import Features, Vectors
from ecmf.storage.array_files import NpzArrays, read_npy
from ecmf.storage.files import verify_sha256

FeatureTable = Mapping[str, NDArray[Any]]
"""Clip id -> row (dim,) or rows (rows, dim), read on access, unchecked."""

READ_ERRORS = (
    ValueError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error
)  # fmt: skip
"""Errors of numpy for a damaged file, and for an array of objects (which could run code)."""


class Options(Section):
    """File or folder of the features, and the columns to read."""

    path: str = Field(description="The .csv or .npz file or folder of .npy files.")
    sha256: str = Field("", description="SHA-256 of the path; if empty, the error states it.")
    clip_id: str = Field("clip_id", description="csv: name of the column of clip ids.")
    columns: tuple[str, ...] = Field((), description="csv: columns to read; empty: all but ids.")


class Clip(Protocol):
    """Images, audio or text with a clip id."""

    @property
    def clip_id(self) -> str:
        """Id by which the features are looked up."""
        ...


class Encoder:
    """Return the rows of a clip in the file; no row if it is absent.

    The times of rows are unknown, so row i has time i.

    Raises:
        CorpusError: an id occurs twice, a value is not a finite number, or rows differ in width;
            names the file and the line or the clip.
    """

    reads_media = False

    def __init__(self, options: Options) -> None:
        remedy = "name a .csv or .npz file or a folder of .npy files with features of these clips"
        self._path = verify_sha256(options.path, options.sha256, remedy)
        reader = _reader(self._path)
        self._table, columns, encoder = reader(self._path, options)
        # `in` on numpy's own mapping would read the whole array
        self._clip_ids = frozenset(self._table)
        if not self._clip_ids:
            raise CorpusError(f"{self._path} has no clip")
        first = next(iter(self._table))
        self.dim = int(np.atleast_1d(self._read(first)).shape[-1])
        self.provenance: dict[str, Any] = {
            "encoder": encoder or self._path.stem,
            "file": self._path.name,
            "sha256": options.sha256,
        }
        if columns:
            self.provenance["columns"] = columns

    def __call__(self, clips: Sequence[Clip]) -> list[Features]:
        """Look up each clip."""
        return [self._features(clip.clip_id) for clip in clips]

    def _features(self, clip_id: str) -> Features:
        if clip_id not in self._clip_ids:
            return Features(np.empty((0, self.dim), "float32"), np.empty(0))
        rows = self._check(clip_id, self._read(clip_id))
        return Features(rows, np.arange(len(rows), dtype="float64"))

    def _read(self, clip_id: str) -> NDArray[Any]:
        try:
            return np.asarray(self._table[clip_id])
        except READ_ERRORS as error:
            raise CorpusError(
                f"{self._path}: clip {clip_id!r} is not a plain array of numbers: {error}"
            ) from error

    def _check(self, clip_id: str, values: NDArray[Any]) -> Vectors:
        where = f"{self._path}: clip {clip_id!r}"
        if values.dtype.kind not in "fiub":
            raise CorpusError(f"{where} has dtype {values.dtype}, not numbers")
        if values.ndim not in (1, 2) or values.shape[-1] != self.dim:
            raise CorpusError(
                f"{where} has shape {values.shape}, not ({self.dim},) or (rows, {self.dim}) like "
                "the first clip"
            )
        with np.errstate(over="ignore"):  # reported below, as not finite
            rows = np.atleast_2d(values).astype("float32")
        if not np.isfinite(rows).all():
            raise CorpusError(f"{where} has NaN or infinity: leave out clips without features")
        return rows


class _Folder(Mapping[str, NDArray[Any]]):
    """The files `<clip_id>.npy` of a folder, each read on access."""

    def __init__(self, folder: Path) -> None:
        self._files = {file.stem: file for file in sorted(folder.glob("*.npy"))}

    def __getitem__(self, clip_id: str) -> NDArray[Any]:
        return read_npy(self._files[clip_id])

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


Reader = Callable[[Path, Options], tuple[FeatureTable, list[str], str]]
"""Path and options -> clips, names of the columns, name of the encoder; names may be absent."""


def _reader(path: Path) -> Reader:
    if path.is_dir():
        return lambda folder, _: (_Folder(folder), [], "")
    readers: dict[str, Reader] = {".csv": _read_csv, ".npz": _read_npz}
    if path.suffix not in readers:
        raise ParamsError(f"{path} is neither a .csv or .npz file nor a folder of .npy files")
    return readers[path.suffix]


def _read_npz(path: Path, _: Options) -> tuple[FeatureTable, list[str], str]:
    try:
        arrays = NpzArrays(path)
        if not is_archive(arrays):
            return arrays, [], ""
        archive = FeatureArchive(path)
    except READ_ERRORS as error:
        raise CorpusError(f"{path} is not an npz file of plain arrays: {error}") from error
    return archive, [], archive.encoder


def _read_csv(path: Path, options: Options) -> tuple[FeatureTable, list[str], str]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        for column in (options.clip_id, *options.columns):
            if column not in header:
                raise ParamsError(
                    f"{path} has no column {column!r}.{registry.did_you_mean(column, header)}"
                )
        columns = list(options.columns) or [name for name in header if name != options.clip_id]
        key, indices = header.index(options.clip_id), [header.index(name) for name in columns]
        rows: dict[str, NDArray[Any]] = {}
        for cells in reader:
            where = f"{path}, line {reader.line_num}"
            if len(cells) != len(header):
                raise CorpusError(f"{where}: {len(cells)} cells, but {len(header)} columns")
            if cells[key] in rows:
                raise CorpusError(f"{where}: clip {cells[key]!r} occurs twice")
            rows[cells[key]] = _numbers(where, columns, [cells[index] for index in indices])
    return rows, columns, ""


def _numbers(where: str, columns: Sequence[str], cells: Sequence[str]) -> NDArray[np.float64]:
    numbers = [_number(cell) for cell in cells]
    for column, cell, number in zip(columns, cells, numbers, strict=True):
        if not math.isfinite(number):
            raise CorpusError(
                f"{where}: {column} is {cell!r}, not a finite number: leave out the clip, or set "
                "`columns` to the columns to read"
            )
    return np.array(numbers)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan
