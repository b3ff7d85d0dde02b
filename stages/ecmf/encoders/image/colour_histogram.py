"""Histograms of colour: which hues a picture has, how saturated and how bright they are.

Needs no weights. Says nothing of where a colour is: a mood of light and scene, not an expression.
M. J. Swain and D. H. Ballard, "Color indexing", IJCV 7 (1991).
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from pydantic import Field

from ecmf.config import Section
from ecmf.encoding.base import per_picture
from ecmf.media import RGB, Features, Pictures, Vectors

RANGES = [0, 180, 0, 256, 0, 256]
"""OpenCV counts hue in steps of two degrees."""


class Options(Section):
    """How finely each axis is divided; a row has the product of the three."""

    hues: int = Field(8, ge=1, le=180)
    saturations: int = Field(4, ge=1, le=256)
    brightnesses: int = Field(4, ge=1, le=256)


class Encoder:
    """A picture in, a row out: the square root of the share of its pixels in each bin of colour.

    With the root every row has length 1, and the distance of two rows is that of Hellinger; a few
    large plain areas do not drown all else.
    """

    needs_rows = True

    def __init__(self, options: Options) -> None:
        self._bins = [options.hues, options.saturations, options.brightnesses]
        self.dim = options.hues * options.saturations * options.brightnesses
        self.provenance: dict[str, Any] = {"opencv": cv2.__version__}

    def __call__(self, clips: Sequence[Pictures]) -> list[Features]:
        """One row per picture, with the picture's time."""
        return per_picture(clips, self._row, self.dim)

    def _row(self, image: RGB) -> Vectors:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        pixels = cv2.calcHist([hsv], [0, 1, 2], None, self._bins, RANGES).ravel()
        return np.asarray(np.sqrt(pixels / pixels.sum()), np.float32)
