"""Define the interface of a corpus."""

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, Protocol

from ecmf.data.manifest import Clip


class Corpus(Protocol):
    """List the clips of a folder on disk.

    `classes` is the corpus's order of its emotions; if empty, the labels in the folder define the
    classes. `gated` is true if the licence forbids redistribution: the manifest, which contains the
    labels, is then not tracked by git (`ecmf index`, `.gitignore`).

    A plugin returns paths relative to the folder. `corpus_index.collect_clips` checks that the
    files exist and are inside it, hashes them and converts the paths to those of the manifest.
    """

    classes: ClassVar[tuple[str, ...]]
    gated: ClassVar[bool]

    def clips(self, folder: Path) -> Iterable[Clip]:
        """Yield the clips in a fixed order; raises CorpusError if the folder is not this corpus."""
        ...
