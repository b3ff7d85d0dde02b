"""A file for HDF5 to write to that never fails; its first error is raised by the caller instead.

HDF5 ends the process with a segmentation fault where closing a file fails, as on a full disk, or
where it reads back other content than it wrote.
"""

import os
from pathlib import Path
from typing import BinaryIO, cast


class UnfailingFile:
    """A new file; after an error writes are held in memory, which the next `check` ends."""

    def __init__(self, path: Path) -> None:
        self.error: OSError | None = None
        self._file = cast("BinaryIO", path.open("wb+", buffering=0))
        self._position = self._size = 0
        self._held: list[tuple[int, bytes]] = []

    def write(self, data: memoryview) -> int:
        """Write all of `data` at the position."""
        content = bytes(data)
        if self.error is None:
            try:
                self._file.seek(self._position)
                rest = memoryview(content)
                while rest:
                    rest = rest[self._file.write(rest) :]
            except OSError as error:
                self.error = error
        if self.error is not None:
            self._held.append((self._position, content))
        self._position += len(content)
        self._size = max(self._size, self._position)
        return len(content)

    def readinto(self, buffer: memoryview) -> int:
        """Read back what was written, zeros where nothing was; raises the error of a disk."""
        first, view = self._position, memoryview(buffer).cast("B")
        self._file.seek(first)
        content = bytearray(self._file.read(len(view)).ljust(len(view), b"\0"))
        for offset, held in self._held:
            begin, end = max(offset, first), min(offset + len(held), first + len(view))
            if begin < end:
                content[begin - first : end - first] = held[begin - offset : end - offset]
        view[:] = content
        self._position += len(view)
        return len(view)

    def truncate(self, size: int) -> int:
        """Set the size of the file."""
        self._size = size
        try:
            if self.error is None:
                self._file.truncate(size)
        except OSError as error:
            self.error = error
        return size

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position from the start or, with `os.SEEK_END`, from the end."""
        self._position = offset + (self._size if whence == os.SEEK_END else 0)
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def flush(self) -> None:
        """Do nothing: the file has no buffer."""

    def check(self) -> None:
        """Raise the first error, if there was one."""
        if self.error is not None:
            raise self.error

    def sync(self) -> None:
        """Wait until the content is on the disk; raise the first error, if there was one."""
        self.check()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file without checking it."""
        self._file.close()
