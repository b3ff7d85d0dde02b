"""Example to copy: read a folder per encoder, with a table `<clip>.csv` of a row per step.

    openface/<clip>.csv    a header, then numbers alone

The branch is not recorded, so the user names it (`--take face=openface`).
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ecmf.errors import ClipError, CorpusError, MissingFileError
from ecmf.importing.base import ExternalFeatures, IdMapping


class FeatureFormat:
    """Read the tables of an encoder's folder."""

    id_mappings: ClassVar[Sequence[IdMapping]] = ()  # ids are those of the manifest

    def read(self, path: Path) -> Iterator[ExternalFeatures]:
        """Yield the encoder; its tables are read later, one by one."""
        if not path.is_dir():
            raise MissingFileError(f"no folder {path}: name the folder that holds <clip>.csv")
        tables = sorted(path.glob("*.csv"))
        if not tables:
            raise CorpusError(f"{path} has no <clip>.csv: name the folder of one encoder")
        clips = [(table.stem, partial(_load, table)) for table in tables]
        yield ExternalFeatures(path.resolve().name, None, clips)


def _load(table: Path) -> NDArray[Any]:
    """Read the rows (rows, dim); the import checks that they are finite and of one width."""
    try:
        return np.loadtxt(table, delimiter=",", skiprows=1, ndmin=2)
    except ValueError as error:  # the import reports the clip and continues
        raise ClipError(f"is not a table of numbers: {error}") from error
