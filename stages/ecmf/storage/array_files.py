"""Read npy and npz files of strangers: a claimed size is checked before memory is taken for it.

The header of 128 bytes may claim any shape, and a compressed archive may hold a thousand times its
own size in zeros.
"""

import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

MAX_RATIO, RESERVE_BYTES = 16, 1 << 28
"""A compressed array may be this many times its size in the file, plus bytes for small ones."""

HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
"""Reader of the header of each version of the format; the third is of records alone."""


def read_npy(path: Path) -> NDArray[Any]:
    """Read the array in an npy file, without running a pickle.

    Raises:
        ValueError: it is not an npy file, holds objects, or claims another size than it has.
    """
    with path.open("rb") as file:
        return _read(file, path.stat().st_size)


class NpzArrays(Mapping[str, NDArray[Any]]):
    """The arrays in an npz file by name, each read on access.

    Raises:
        ValueError: as `read_npy`; or an array is larger than its part of the file can plausibly be.
        BadZipFile: it is not an npz file.
    """

    def __init__(self, path: Path) -> None:
        self._archive = zipfile.ZipFile(path)
        self._size = path.stat().st_size
        entries = self._archive.infolist()
        self._entries = {entry.filename.removesuffix(".npy"): entry for entry in entries}

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Read an array; raises KeyError if there is none of this name."""
        entry = self._entries[name]
        packed = min(entry.compress_size, self._size)
        limit = MAX_RATIO * packed + RESERVE_BYTES
        if entry.file_size > limit:
            raise ValueError(
                f"array {name!r} claims {entry.file_size} bytes from {packed} in the file, more "
                f"than {limit}: if it is right, write it uncompressed with numpy.savez"
            )
        with self._archive.open(entry) as file:
            return _read(file, entry.file_size)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names in the order of the file."""
        return iter(self._entries)

    def __len__(self) -> int:
        """Count the arrays."""
        return len(self._entries)


def _read(file: BinaryIO, size: int) -> NDArray[Any]:
    """Read an array from the start of `file`, which has `size` bytes."""
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"npy files of version {version} are not read")
    shape, _, dtype = HEADERS[version](file)
    if dtype.hasobject:
        raise ValueError("it holds objects, not numbers or text")
    claimed, held = math.prod(shape) * dtype.itemsize, size - file.tell()
    if claimed != held:
        raise ValueError(f"it claims {dtype} {shape}, {claimed} bytes, but holds {held}")
    file.seek(0)
    return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
