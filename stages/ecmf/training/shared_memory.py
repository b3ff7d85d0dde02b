"""Share one copy of the features in memory between worker processes.

The values are written to an unnamed file that every process maps: the system holds its pages once,
copies them only on write, and frees them with the last process, even if it is killed.
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
    """A source that is pickled with the path of its mapped values instead of the values."""

    path: str

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle everything except the values."""
        return _map, (self.name, self.path, self.starts, self.provenance)


@contextmanager
def share_memory(sources: Sequence[Source], folder: Path) -> Iterator[list[Source]]:
    """Yield the sources, backed by unnamed files in `folder` that other processes can map."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as files:
        mapped: list[Source] = []
        for source in sources:
            file = files.enter_context(TemporaryFile(dir=folder))
            np.save(file, source.values, allow_pickle=False)
            file.flush()
            path = f"/proc/{os.getpid()}/fd/{file.fileno()}"
            mapped.append(_map(source.name, path, source.starts, source.provenance))
        yield mapped


def _map(name: str, path: str, starts: Any, provenance: Any) -> SharedSource:
    values = np.load(path, mmap_mode="c", allow_pickle=False)
    return SharedSource(name, values, starts, provenance, path)
