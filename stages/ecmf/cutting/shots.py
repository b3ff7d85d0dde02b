"""Find the cuts between the shots of a video with PySceneDetect (BSD)."""

import numpy as np
from scenedetect import ContentDetector, FrameTimecode

from ecmf.media import RGB

CLOCK = 1000.0
"""Ticks per second of the times that the detector gets: those of the file, not a frame rate."""

SHORTEST_SHOT = 0.6
"""Seconds; a shorter one is a flash, not a shot."""


class ShotDetector:
    """Find cuts between successive images by the change of hue, saturation and brightness."""

    def __init__(self) -> None:
        self._detector = ContentDetector(min_scene_len=int(SHORTEST_SHOT * CLOCK))
        self.cuts: list[float] = []
        """Times of the first images of all shots but the first, ascending."""

    def feed(self, seconds: float, image: RGB) -> None:
        """Take the next image."""
        time = FrameTimecode(round(seconds * CLOCK), CLOCK)
        bgr = np.ascontiguousarray(image[..., ::-1])
        self.cuts += [cut.seconds for cut in self._detector.process_frame(time, bgr)]
