"""When the frames of a video are shown, and which of them stand for it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecmf.media import Seconds

ROUNDING = 1e-6
"""Seconds: a frame that appears right in the middle of an interval counts as shown there."""


@dataclass(frozen=True)
class Timeline:
    """The timestamps of the frames of one video, at least one.

    `stamps` (frames,) ascend, in the file's own `unit` of so many seconds; whole numbers, so that a
    frame is found again by its stamp. `last` is how long the last frame is shown, in seconds.
    """

    stamps: NDArray[np.int64]
    unit: float
    last: float

    @property
    def times(self) -> Seconds:
        """When each frame appears, (frames,), counted from the first one."""
        return np.asarray((self.stamps - self.stamps[0]) * self.unit, "float64")

    @property
    def seconds(self) -> float:
        """How long the frames last together."""
        return float(self.times[-1]) + self.last

    @property
    def repeated(self) -> int:
        """How many frames carry the timestamp of another one."""
        return len(self.stamps) - len(np.unique(self.stamps))

    def uniform(self, count: int) -> NDArray[np.intp]:
        """Choose up to `count` frames uniformly in time: their numbers, ascending, none twice.

        The video is cut into `count` equal intervals, and each gives the frame that is on the
        screen in its middle. All frames are chosen where there are no more than `count`; a frame
        that is shown for several intervals is chosen once.
        """
        if len(self.stamps) <= count:
            return np.arange(len(self.stamps))
        middles = (np.arange(count) + 0.5) / count * self.seconds + ROUNDING
        return np.unique(np.searchsorted(self.times, middles, side="right") - 1)
