"""What every corpus promises."""

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, Protocol

from ecmf.data.manifest import Clip


class Corpus(Protocol):
    """A folder on disk in, its clips out.

    `classes` is the corpus's own order of its emotions, or empty where the labels found decide.
    `gated` says that its licence lets nobody pass it on: its manifest, which holds its labels, is
    kept out of git (`ecmf index`, `.gitignore`).
    The member names files relative to the folder; `indexing.py` checks that they exist and stay
    inside it, hashes them and makes their paths those of the manifest.
    """

    classes: ClassVar[tuple[str, ...]]
    gated: ClassVar[bool]

    def clips(self, folder: Path) -> Iterable[Clip]:
        """Yield the clips in a fixed order; raises CorpusError if the folder is not this corpus."""
        ...
