"""Find out from the pages of an Ogg file whether its streams were ended by their writer.

Ogg declares no length, and a file that is cut between two pages has no torn packet. But the first
page of a stream is marked, and so is its last one (RFC 3533, section 6).
"""

import struct
from pathlib import Path

HEADER = struct.Struct("<4sBBqIIIB")
"""Of a page: "OggS", version, flags, position, serial number of the stream, number of the page,
checksum, number of segments."""

BEGINS, ENDS = 2, 4


def has_open_stream(path: Path) -> bool:
    """Return whether a stream of an Ogg file has a first page, but no last one.

    Then it is cut off, or its writer did not mark the end, as some that record a broadcast. Pages
    after a hole in the file are not found.
    """
    begun, ended = set(), set()
    with path.open("rb") as file:
        while len(header := file.read(HEADER.size)) == HEADER.size:
            capture, _, flags, _, serial, _, _, segments = HEADER.unpack(header)
            if capture != b"OggS":
                break
            begun |= {serial} if flags & BEGINS else set()
            ended |= {serial} if flags & ENDS else set()
            file.seek(sum(file.read(segments)), 1)
    return bool(begun - ended)
