"""What every layout of features made elsewhere promises."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from numpy.typing import NDArray

from ecmf.params import Branch

Read = Callable[[], NDArray[Any]]
"""Gives a clip's row (dim,) or rows (rows, dim), padding cut off but not checked yet.

Raises ClipError where they cannot be read.
"""


@dataclass(frozen=True)
class ForeignSource:
    """What one encoder made of all clips: its name there, and the clips under their ids there.

    `branch` is what it encodes, where the layout tells. The clips are gone through once.
    """

    encoder: str
    branch: Branch | None
    clips: Iterable[tuple[str, Read]]


@dataclass(frozen=True)
class Renaming:
    """A foreign id that `pattern` fits as a whole is the clip `template` (as of `re.sub`)."""

    pattern: str
    template: str


class Layout(Protocol):
    """A file or folder in, its sources out; none of their rows is held before it is read.

    `renamings` says what a clip of the manifest may be called here beside its own id.
    """

    renamings: ClassVar[Sequence[Renaming]]

    def sources(self, path: Path) -> Iterator[ForeignSource]:
        """Yield the sources in a fixed order.

        Raises:
            MissingFileError: there is nothing at `path`.
            CorpusError: what is there is not of this layout; says what it is.
        """
        ...
