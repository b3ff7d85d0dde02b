"""Define the interface of formats in which other toolkits publish features."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from numpy.typing import NDArray

from ecmf.params import Branch

LoadRows = Callable[[], NDArray[Any]]
"""Load the row (dim,) or rows (rows, dim) of a clip, without padding, unchecked.

Raises ClipError if they cannot be read.
"""


@dataclass(frozen=True)
class ExternalFeatures:
    """Features of one encoder: its name, and each clip's foreign id with its rows.

    `branch` is None if the format does not record it. `clips` is iterated once.
    """

    encoder: str
    branch: Branch | None
    clips: Iterable[tuple[str, LoadRows]]


@dataclass(frozen=True)
class IdMapping:
    """Map a foreign id that fully matches `pattern` to the clip id `template` (as in `re.sub`)."""

    pattern: str
    template: str


class FeatureFormat(Protocol):
    """Read the features in a file or folder of one toolkit, encoder by encoder.

    `id_mappings` are applied to foreign ids that are not clip ids.
    """

    id_mappings: ClassVar[Sequence[IdMapping]]

    def read(self, path: Path) -> Iterator[ExternalFeatures]:
        """Yield the encoders in a fixed order; rows are loaded later, clip by clip.

        Raises:
            MissingFileError: `path` does not exist.
            CorpusError: `path` has another format; the message names its content.
        """
        ...
