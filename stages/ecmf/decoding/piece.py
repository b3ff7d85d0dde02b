"""The piece of a file that a clip is, in the time of the file."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from ecmf.data.manifest import Clip
from ecmf.decoding.frame_times import Timeline
from ecmf.errors import ClipError

ROUNDING = 0.002
"""Seconds by which a border may miss the frame that it means: tables round to milliseconds."""


@dataclass(frozen=True)
class Piece:
    """The seconds of a file from `start` to `end`; infinite borders are those of the file."""

    start: float = -np.inf
    end: float = np.inf

    @classmethod
    def of(cls, clip: Clip) -> Self:
        """Return the piece of its files that a clip is, counted from their beginning."""
        return cls(float(clip.start or "-inf"), float(clip.end or "inf"))

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the file."""
        return self == WHOLE

    def shifted(self, seconds: float) -> "Piece":
        """Return the piece by a clock that shows `seconds` where the file begins."""
        return Piece(self.start + seconds, self.end + seconds)

    def length(self, file_start: float, file_end: float) -> float:
        """Return the seconds of the piece of a file from `file_start` to `file_end`."""
        start = file_start if np.isinf(self.start) else self.start
        return (file_end if np.isinf(self.end) else self.end) - start

    def frames(self, timeline: Timeline) -> Timeline:
        """Return the frames of a file that are on the screen in the piece.

        The first one may have appeared before the piece begins.

        Raises:
            ClipError: there is none.
        """
        if self.is_whole:
            return timeline
        times = timeline.pts * timeline.time_base
        file_end = times[-1] + timeline.last_duration
        first = max(0, int(np.searchsorted(times, self.start + ROUNDING, side="right")) - 1)
        last = int(np.searchsorted(times, self.end - ROUNDING)) - 1
        if last < first or file_end < self.start + ROUNDING:
            raise ClipError(f"it has no frame between {self.start:.2f} and {self.end:.2f} s")
        gone = file_end if last + 1 == len(times) else times[last + 1]
        return replace(
            timeline,
            pts=timeline.pts[first : last + 1],
            last_duration=float(min(self.end, gone) - times[last]),
        )


WHOLE = Piece()
