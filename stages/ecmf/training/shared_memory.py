"""Hold the features of all clips once, in files that all worker processes map.

Each source is read from its store into an unnamed file: the system holds its pages once, copies
them only on write, and frees them with the last process, even if it is killed. It may also write
pages back to the disk, so that features larger than the memory can be trained on, slowly.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from ecmf.data.features import Source
from ecmf.media import Vectors


@dataclass(frozen=True)
class SharedSource(Source):
    """A source that is pickled with the path of its mapped values instead of the values."""

    path: str

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle everything except the values."""
        return _map, (self.name, self.path, self.starts, self.provenance)


class SharedMemory:
    """Unnamed files in `folder` that other processes can map, until `files` is closed."""

    def __init__(self, folder: Path, files: ExitStack) -> None:
        self._folder, self._files = folder, files

    def allocate(self, shape: tuple[int, int]) -> Vectors:
        """Return zeros, float32, that are the content of a new file."""
        file = self._files.enter_context(TemporaryFile(dir=self._folder))  # noqa: SIM115
        path = f"/proc/{os.getpid()}/fd/{file.fileno()}"
        values = np.lib.format.open_memmap(path, "w+", "float32", shape)
        # On a full disk this raises; a mapped page without a block would end the process.
        os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
        return values

    def share(self, source: Source) -> SharedSource:
        """Map a source for all processes; its values are an array of `allocate`, now complete."""
        if not isinstance(source.values, np.memmap) or source.values.filename is None:
            raise TypeError(f"the values of {source.name} are not in shared memory")
        return _map(source.name, str(source.values.filename), source.starts, source.provenance)


@contextmanager
def share_memory(folder: Path) -> Iterator[SharedMemory]:
    """Yield memory for features in unnamed files of `folder`, which is made if it is absent."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as files:
        yield SharedMemory(folder, files)


def mean_rows(source: Source, memory: SharedMemory | None) -> Source:
    """Return a source of one row per clip, their mean; zeros for a clip without a row.

    It is held in `memory` if other processes read it too.
    """
    means = source.clip_means()
    starts = np.arange(len(means) + 1)
    if memory is None:
        return Source(source.name, means, starts, source.provenance)
    values = memory.allocate(means.shape)
    values[:] = means
    return memory.share(Source(source.name, values, starts, source.provenance))


def _map(name: str, path: str, starts: Any, provenance: Any) -> SharedSource:
    values = np.load(path, mmap_mode="c", allow_pickle=False)
    return SharedSource(name, values, starts, provenance, path)
