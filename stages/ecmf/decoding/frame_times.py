"""Timestamps of the frames of a video, and frames sampled uniformly in time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecmf.media import Seconds

ROUNDING = 1e-6
"""Seconds; a frame that appears exactly in the middle of an interval counts as shown there."""


@dataclass(frozen=True)
class Timeline:
    """The timestamps of the frames of one video, at least one.

    `pts` (frames,) ascend, in units of `time_base` seconds; they are integers, so that a frame can
    be looked up by its timestamp. `last_duration` is the duration of the last frame in seconds.
    """

    pts: NDArray[np.int64]
    time_base: float
    last_duration: float

    @property
    def times(self) -> Seconds:
        """Start of each frame, (frames,), relative to the first."""
        return np.asarray((self.pts - self.pts[0]) * self.time_base, "float64")

    @property
    def seconds(self) -> float:
        """Duration of all frames together."""
        return float(self.times[-1]) + self.last_duration

    @property
    def duplicates(self) -> int:
        """Number of frames that repeat the timestamp of another frame."""
        return len(self.pts) - len(np.unique(self.pts))

    def sample_uniformly(self, count: int) -> NDArray[np.intp]:
        """Sample up to `count` frames uniformly in time; return their indices, strictly ascending.

        The video is cut into `count` equal intervals, and each gives the frame that is on the
        screen in its middle. A video of at most `count` frames gives all of them; a frame that is
        shown for several intervals is sampled once.
        """
        if len(self.pts) <= count:
            return np.arange(len(self.pts))
        middles = (np.arange(count) + 0.5) / count * self.seconds + ROUNDING
        return np.unique(np.searchsorted(self.times, middles, side="right") - 1)
