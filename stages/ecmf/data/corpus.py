"""Define the interface of a corpus."""

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, Protocol

from ecmf.data.manifest import Clip


class Corpus(Protocol):
    """List the clips of a folder on disk.

    `classes` is the corpus's own order of its emotions, or empty where the labels in the folder
    define them. `gated` is true if the licence forbids redistribution: the manifest, which holds
    the labels, is then kept out of git (`ecmf index`, `.gitignore`).
    A plugin gives paths relative to the folder. `corpus_index.collect_clips` checks that the files
    exist and lie inside it, hashes them and converts the paths to those of the manifest.
    """

    classes: ClassVar[tuple[str, ...]]
    gated: ClassVar[bool]

    def clips(self, folder: Path) -> Iterable[Clip]:
        """Yield the clips in a fixed order; raises CorpusError if the folder is not this corpus."""
        ...
