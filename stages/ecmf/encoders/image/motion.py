"""Measure motion: how much each part of the image changes from one image to the next.

Needs no weights. Dense optical flow after G. Farnebäck, "Two-frame motion estimation based on
polynomial expansion", SCIA 2003, as computed by OpenCV.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ecmf.config import Section
from ecmf.media import RGB, Features, Images

NUMBERS_PER_CELL = 4
MAX_BRIGHTNESS = 255


class Options(Section):
    """Size of the images and grid of cells."""

    side: int = Field(64, ge=16, le=512, description="Side of the resized image in pixels.")
    cells: int = Field(4, ge=1, description="Cells per row and per column of the image.")

    @model_validator(mode="after")
    def _cells_fill_the_image(self) -> "Options":
        if self.side % self.cells:
            raise ValueError(f"side {self.side} is no multiple of cells {self.cells}")
        return self


class Encoder:
    """Encode each pair of successive images as a row: four numbers per cell, row by row.

    They are the means over the cell of the absolute change of brightness (0 to 1), of the length of
    the flow, and of the flow to the right and downwards (in sides of the image). They are per pair
    and not per second: images that are farther apart have moved more.
    """

    reads_media = True

    def __init__(self, options: Options) -> None:
        self._side, self._cells = options.side, options.cells
        self.dim = options.cells**2 * NUMBERS_PER_CELL
        self.provenance: dict[str, Any] = {"opencv": cv2.__version__}

    def __call__(self, clips: Sequence[Images]) -> list[Features]:
        """Return one row fewer than there are images, each with the time of the later image."""
        return [self._encode(clip) for clip in clips]

    def _encode(self, clip: Images) -> Features:
        squares = [self._square(image) for image in clip.images]
        rows = [self._row(before, after) for before, after in pairwise(squares)]
        return Features(np.array(rows, "float32").reshape(-1, self.dim), clip.times[1:])

    def _square(self, image: RGB) -> NDArray[np.uint8]:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        square = cv2.resize(grey, (self._side, self._side), interpolation=cv2.INTER_AREA)
        return np.asarray(square, np.uint8)

    def _row(self, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float32]:
        flow = cv2.calcOpticalFlowFarneback(
            before, after, np.empty(0, np.float32), pyr_scale=0.5, levels=3, winsize=9,
            iterations=3, poly_n=5, poly_sigma=1.1, flags=0,
        )  # fmt: skip
        change = cv2.absdiff(before, after) / MAX_BRIGHTNESS
        length = np.linalg.norm(flow, axis=-1)
        flows = (plane / self._side for plane in (length, *cv2.split(flow)))
        numbers = np.dstack([change, *flows])
        pixels = self._side // self._cells
        cells = numbers.reshape(self._cells, pixels, self._cells, pixels, NUMBERS_PER_CELL)
        return np.asarray(cells.mean(axis=(1, 3)).ravel(), np.float32)
