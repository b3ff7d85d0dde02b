"""Encode an image as a histogram of its colours: hues, saturations and brightnesses.

Needs no weights. The positions of colours are lost, so it captures the mood of light and scene, not
an expression. M. J. Swain and D. H. Ballard, "Color indexing", IJCV 7 (1991).
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from pydantic import Field

from ecmf.config import Section
from ecmf.encoding.base import encode_each_image
from ecmf.media import RGB, Features, Images, Vectors

RANGES = [0, 180, 0, 256, 0, 256]
"""OpenCV counts hue in steps of two degrees."""


class Options(Section):
    """Bins per axis; a row has the product of the three."""

    hues: int = Field(8, ge=1, le=180, description="Number of bins of hue.")
    saturations: int = Field(4, ge=1, le=256, description="Number of bins of saturation.")
    brightnesses: int = Field(4, ge=1, le=256, description="Number of bins of brightness.")


class Encoder:
    """Encode each image as the square roots of the fractions of its pixels per bin of colour.

    With the root every row has length 1, and the distance of two rows is the Hellinger distance; a
    few large plain areas do not dominate all else.
    """

    reads_media = True

    def __init__(self, options: Options) -> None:
        self._bins = [options.hues, options.saturations, options.brightnesses]
        self.dim = options.hues * options.saturations * options.brightnesses
        self.provenance: dict[str, Any] = {"opencv": cv2.__version__}

    def __call__(self, clips: Sequence[Images]) -> list[Features]:
        """Return one row per image, with the image's time."""
        return encode_each_image(clips, self._row, self.dim)

    def _row(self, image: RGB) -> Vectors:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        counts = cv2.calcHist([hsv], [0, 1, 2], None, self._bins, RANGES).ravel()
        return np.asarray(np.sqrt(counts / counts.sum()), np.float32)
