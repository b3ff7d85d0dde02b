"""MERTools: a folder `<encoder>-UTT` or `-FRA` per encoder, in it `<clip>.npy` per clip.

    chinese-hubert-large-UTT/<clip>.npy    (dim,): the mean of the clip's rows
    clip-vit-large-patch14-FRA/<clip>.npy  (rows, dim)

(github.com/zeroQiaoba/MERTools, `feature_extraction/`; older folders end on `_UTT` or `-FRAME`.) It
writes zeros for a clip without a face, a voice or a text. What such a folder encodes is not told.
"""

import os
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ecmf.errors import ClipError, CorpusError, MissingFileError
from ecmf.importing.base import ForeignSource, Read, Renaming

FOLDER = re.compile(r".+[-_](UTT|UTTERANCE|FRA|FRAME)")
SUFFIX = ".npy"


class Layout:
    """Reads one such folder, or all of them below a folder."""

    renamings: ClassVar[Sequence[Renaming]] = ()

    def sources(self, path: Path) -> Iterator[ForeignSource]:
        """Yield the folders by name; what else lies beside them is not looked at."""
        if not path.is_dir():
            raise MissingFileError(f"no folder {path}: name the one that holds <encoder>-UTT")
        # the last part of what was named may be "." or a link
        if FOLDER.fullmatch(path.resolve().name):
            folders = [path.resolve()]
        else:
            folders = [f for f in sorted(path.iterdir()) if f.is_dir() and FOLDER.fullmatch(f.name)]
        if not folders:
            there = ", ".join(repr(found.name) for found in sorted(path.iterdir())[:5]) or "nothing"
            raise CorpusError(
                f"{path} holds no folder named <encoder>-UTT or <encoder>-FRA, but {there}"
            )
        for folder in folders:
            yield ForeignSource(folder.name, None, _clips(folder))


def _clips(folder: Path) -> Iterator[tuple[str, Read]]:
    """One question to the disk for all names; hidden files (`._*` of a Mac) are no features."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries)
    for name in names:
        if name.endswith(SUFFIX) and not name.startswith("."):
            yield name.removesuffix(SUFFIX), partial(_read, folder / name)


def _read(path: Path) -> NDArray[Any]:
    if not path.is_file():  # a pipe would never end
        raise ClipError("is no file")
    try:
        with path.open("rb") as file:
            return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
    except (ValueError, EOFError, OSError, MemoryError) as error:
        raise ClipError(f"holds no plain array of numbers: {error}") from error
