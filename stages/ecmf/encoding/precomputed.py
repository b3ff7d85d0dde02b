"""Features made elsewhere, by clip id: a csv file, an npz file or a folder of npy files.

The clip itself is not looked at. A clip the file does not know has no row. An npz file holds an
array per clip, or all of them as in `archive`. What made the features is named in the provenance:
by the file itself where it says so (`ecmf import` writes such files), else by its
name.
"""

import csv
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ecmf import registry
from ecmf.config import Section
from ecmf.encoding.feature_archive import Archive, is_archive
from ecmf.errors import CorpusError, ParamsError
from ecmf.media import Features, Vectors
from ecmf.storage.files import verified

Table = Mapping[str, NDArray[Any]]
"""Clip id -> its row (dim,) or its rows (rows, dim); read when asked for, not checked yet."""

UNREADABLE = (ValueError, EOFError, zipfile.BadZipFile)
"""What numpy raises for a damaged file, and for an array of objects, which could run code."""


class Options(Section):
    """Where the features are, and which of them to take.

    `path` is from the project's root; `sha256` that of the file, or of a folder's names and
    contents (leave it out once: the error says it). Of a csv file: `clip_id` names the column of
    ids, `columns` those to take, in this order; none named, all others.
    """

    path: str
    sha256: str = ""
    clip_id: str = "clip_id"
    columns: tuple[str, ...] = ()


class Clip(Protocol):
    """Anything with a clip id: pictures, sound or text."""

    @property
    def clip_id(self) -> str:
        """The id the features are looked up by."""
        ...


class Encoder:
    """A clip in, the rows that stand for it in the file out; no row if there are none.

    When these were taken is not known, so row i has time i; a single row has time 0.

    Raises:
        CorpusError: an id stands twice, a value is no number or not finite, rows differ in width;
            names the file and the line or the clip.
    """

    needs_rows = False

    def __init__(self, options: Options) -> None:
        remedy = "name a .csv or .npz file or a folder of .npy files, made from the same clips"
        self._path = verified(options.path, options.sha256, remedy)
        reader = _reader(self._path)
        self._table, columns, encoder = reader(self._path, options)
        # asked of the table itself, numpy would read the whole array to answer
        self._known = frozenset(self._table)
        if not self._known:
            raise CorpusError(f"{self._path} holds no clip")
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
        if clip_id not in self._known:
            return Features(np.empty((0, self.dim), "float32"), np.empty(0))
        rows = self._checked(clip_id, self._read(clip_id))
        return Features(rows, np.arange(len(rows), dtype="float64"))

    def _read(self, clip_id: str) -> NDArray[Any]:
        try:
            return np.asarray(self._table[clip_id])
        except UNREADABLE as error:
            raise CorpusError(
                f"{self._path}: clip {clip_id!r} holds no plain array of numbers: {error}"
            ) from error

    def _checked(self, clip_id: str, found: NDArray[Any]) -> Vectors:
        where = f"{self._path}: clip {clip_id!r}"
        if found.dtype.kind not in "fiub":
            raise CorpusError(f"{where} holds {found.dtype}, not numbers")
        if found.ndim not in (1, 2) or found.shape[-1] != self.dim:
            raise CorpusError(
                f"{where} has shape {found.shape}, not ({self.dim},) or (rows, {self.dim}) as the "
                "first clip"
            )
        with np.errstate(over="ignore"):  # said below, as not finite
            rows = np.atleast_2d(found).astype("float32")
        if not np.isfinite(rows).all():
            raise CorpusError(
                f"{where} holds NaN or infinity: leave out a clip that has no features"
            )
        return rows


class _Folder(Mapping[str, NDArray[Any]]):
    """The files `<clip_id>.npy` of a folder, each read when asked for."""

    def __init__(self, folder: Path) -> None:
        self._files = {file.stem: file for file in sorted(folder.glob("*.npy"))}

    def __getitem__(self, clip_id: str) -> NDArray[Any]:
        found: NDArray[Any] = np.load(self._files[clip_id], allow_pickle=False)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


Reader = Callable[[Path, Options], tuple[Table, list[str], str]]
"""File -> its clips, the names of the columns and that of the encoder where it has any."""


def _reader(path: Path) -> Reader:
    if path.is_dir():
        return lambda folder, _: (_Folder(folder), [], "")
    readers: dict[str, Reader] = {".csv": _read_csv, ".npz": _read_npz}
    if path.suffix not in readers:
        raise ParamsError(f"{path} is neither a .csv or .npz file nor a folder of .npy files")
    return readers[path.suffix]


def _read_npz(path: Path, _: Options) -> tuple[Table, list[str], str]:
    try:
        arrays: Table = np.load(path, allow_pickle=False)
        if not is_archive(arrays):
            return arrays, [], ""
        archive = Archive(path)
    except UNREADABLE as error:
        raise CorpusError(f"{path} is no npz file of plain arrays: {error}") from error
    return archive, [], archive.encoder


def _read_csv(path: Path, options: Options) -> tuple[Table, list[str], str]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        for wanted in (options.clip_id, *options.columns):
            if wanted not in header:
                raise ParamsError(
                    f"{path} has no column {wanted!r}.{registry.hint(wanted, header)}"
                )
        columns = list(options.columns) or [name for name in header if name != options.clip_id]
        key, places = header.index(options.clip_id), [header.index(name) for name in columns]
        rows: dict[str, NDArray[Any]] = {}
        for cells in reader:
            where = f"{path}, line {reader.line_num}"
            if len(cells) != len(header):
                raise CorpusError(f"{where}: {len(cells)} cells under {len(header)} columns")
            if cells[key] in rows:
                raise CorpusError(f"{where}: clip {cells[key]!r} stands twice")
            rows[cells[key]] = _numbers(where, columns, [cells[place] for place in places])
    return rows, columns, ""


def _numbers(where: str, columns: Sequence[str], cells: Sequence[str]) -> NDArray[np.float64]:
    numbers = [_number(cell) for cell in cells]
    for column, cell, number in zip(columns, cells, numbers, strict=True):
        if not math.isfinite(number):
            raise CorpusError(
                f"{where}: {column} is {cell!r}, no finite number: leave out the clip, or name the "
                "columns to take in `columns`"
            )
    return np.array(numbers)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan
