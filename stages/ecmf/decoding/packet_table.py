"""The timestamps of the packets of a video, without their data.

The compressed data of a long video would fill the memory of a worker: its packets are read again
from the file to be decoded.
"""

from array import array
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

UNKNOWN = -(1 << 63)
"""Timestamp of a packet that has none, as in FFmpeg."""

CORRUPT, DISCARDED = 1, 2


class PacketTable:
    """Packets in decoding order, each with its number among all packets of the stream.

    `torn_at` is the byte at which the last packet begins, if it is corrupt, else None.
    """

    def __init__(self) -> None:
        self._numbers, self._pts, self._durations = array("q"), array("q"), array("q")
        self._flags = array("B")
        self.torn_at: int | None = None

    def append(self, number: int, packet: av.Packet) -> None:
        """Append a packet, the `number`-th of its stream."""
        self._numbers.append(number)
        self._pts.append(UNKNOWN if packet.pts is None else packet.pts)
        self._durations.append(packet.duration or 0)
        self._flags.append(CORRUPT * packet.is_corrupt | DISCARDED * packet.is_discard)
        self.torn_at = packet.pos if packet.is_corrupt else None

    def clear(self) -> None:
        """Remove all packets."""
        for column in (self._numbers, self._pts, self._durations, self._flags):
            del column[:]

    def __len__(self) -> int:
        """Return the number of packets."""
        return len(self._numbers)

    @property
    def first_pts(self) -> int:
        """Timestamp of the first packet."""
        return self._pts[0]

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Numbers of the packets in the stream, (packets,), ascending."""
        return np.array(self._numbers, "int64")

    @property
    def pts(self) -> NDArray[np.int64]:
        """Timestamps, (packets,)."""
        return np.array(self._pts, "int64")

    @property
    def discarded(self) -> NDArray[np.bool_]:
        """Return which packets have a frame that is never shown, (packets,)."""
        return np.bitwise_and(self._flags, DISCARDED).astype("bool")

    @property
    def shown(self) -> NDArray[np.int64]:
        """Timestamps of the intact packets whose frames are shown, (shown,), in ascending order."""
        return np.sort(self.pts[self._shown()])

    def last_duration(self, time_base: Fraction) -> float:
        """Return for how many seconds the last shown frame is shown: its own, or the mean."""
        shown = self._shown()
        pts = self.pts[shown]
        ticks = self._durations[shown[pts.argmax()]]
        if ticks:
            return float(ticks * time_base)
        return float(int(np.ptp(pts)) * time_base) / max(1, len(pts) - 1)

    def _shown(self) -> NDArray[np.intp]:
        return np.flatnonzero((self.pts != UNKNOWN) & (np.array(self._flags) == 0))
