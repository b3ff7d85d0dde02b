"""Read the features of MERTools: per encoder a folder `<encoder>-UTT` or `-FRA` of `<clip>.npy`.

    chinese-hubert-large-UTT/<clip>.npy    (dim,): the mean of the clip's rows
    clip-vit-large-patch14-FRA/<clip>.npy  (rows, dim)

(github.com/zeroQiaoba/MERTools, `feature_extraction/`; older folders end in `_UTT` or `-FRAME`.)
MERTools writes zeros for a clip without a face, a voice or a text, and does not record the branch.
"""

import os
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from ecmf.errors import ClipError, CorpusError, MissingFileError
from ecmf.importing.base import ExternalFeatures, IdMapping, LoadRows
from ecmf.storage.array_files import read_npy

FOLDER = re.compile(r".+[-_](UTT|UTTERANCE|FRA|FRAME)")
SUFFIX = ".npy"


class FeatureFormat:
    """Read the folder of an encoder, or all such folders in a folder."""

    id_mappings: ClassVar[Sequence[IdMapping]] = ()

    def read(self, path: Path) -> Iterator[ExternalFeatures]:
        """Yield the folders of encoders, sorted by name; other files and folders are ignored."""
        if not path.is_dir():
            raise MissingFileError(f"no folder {path}: name the folder that holds <encoder>-UTT")
        # the last part of `path` may be "." or a link
        if FOLDER.fullmatch(path.resolve().name):
            folders = [path.resolve()]
        else:
            folders = [f for f in sorted(path.iterdir()) if f.is_dir() and FOLDER.fullmatch(f.name)]
        if not folders:
            names = ", ".join(repr(entry.name) for entry in sorted(path.iterdir())[:5]) or "nothing"
            raise CorpusError(
                f"{path} has no folder named <encoder>-UTT or <encoder>-FRA, but {names}"
            )
        for folder in folders:
            yield ExternalFeatures(folder.name, None, _clips(folder))


def _clips(folder: Path) -> Iterator[tuple[str, LoadRows]]:
    """List the feature files, sorted; ignore hidden files (`._*` of macOS)."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries)
    for name in names:
        if name.endswith(SUFFIX) and not name.startswith("."):
            yield name.removesuffix(SUFFIX), partial(_load, folder / name)


def _load(path: Path) -> NDArray[Any]:
    if not path.is_file():  # reading a pipe would never end
        raise ClipError("is not a file")
    try:
        return read_npy(path)
    except (ValueError, EOFError, OSError) as error:
        raise ClipError(f"is not a plain array of numbers: {error}") from error
