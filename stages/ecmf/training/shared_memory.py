"""Sources in memory -> sources that processes share: one copy, however many trainings run.

The values go to a file without a name, which every process maps: its pages are held once by the
system, copied only where somebody writes, and gone with the last process, even a killed one.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from ecmf.data.features import Source


@dataclass(frozen=True)
class SharedSource(Source):
    """A source that is pickled as the `place` of its values instead of their numbers."""

    place: str

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle all but the values."""
        return _mapped, (self.name, self.place, self.starts, self.provenance)


@contextmanager
def shared(sources: Sequence[Source], folder: Path) -> Iterator[list[Source]]:
    """Yield the same sources for other processes to map; their file, in `folder`, has no name."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as files:
        made: list[Source] = []
        for source in sources:
            file = files.enter_context(TemporaryFile(dir=folder))
            np.save(file, source.values, allow_pickle=False)
            file.flush()
            place = f"/proc/{os.getpid()}/fd/{file.fileno()}"
            made.append(_mapped(source.name, place, source.starts, source.provenance))
        yield made


def _mapped(name: str, place: str, starts: Any, provenance: Any) -> SharedSource:
    values = np.load(place, mmap_mode="c", allow_pickle=False)
    return SharedSource(name, values, starts, provenance, place)
