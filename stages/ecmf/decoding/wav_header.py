"""Recognise a wav file whose writer could not go back and write its length."""

import struct
from pathlib import Path

LARGEST_LENGTH = 0x7FFF_0000
"""A longer claim, in bytes, is no length: writers to a pipe give 0xFFFFFFFF or nearly 2 GiB."""

MAX_CHUNKS = 64
"""Chunks before the samples; an ordinary file has at most a handful."""


def is_streamed(path: Path) -> bool:
    """Return whether a file is a RIFF wav whose samples have no declared length.

    Its length is then 0 or too large, and that it ends before this length is no damage. RF64, the
    form for long files, has its length elsewhere and is not meant.
    """
    with path.open("rb") as file:
        riff, _, wave = struct.unpack("<4sI4s", file.read(12).ljust(12))
        if (riff, wave) != (b"RIFF", b"WAVE"):
            return False
        for _ in range(MAX_CHUNKS):
            header = file.read(8)
            if len(header) < 8:
                return False
            name, length = struct.unpack("<4sI", header)
            if name == b"data":
                return bool(length == 0 or length > LARGEST_LENGTH)
            file.seek(length + length % 2, 1)
    return False
