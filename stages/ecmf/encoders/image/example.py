"""Example to copy: mean and deviation of the colours of an image, without its border.

The function has the name of the file. It is called once per image and returns one row; NaN fails
the clip. The arguments after the star are the encoder's options, written in `params.yaml` as
`{encoder: example, trim: 0.1}`.
"""

from typing import Annotated

import numpy as np
from pydantic import Field

from ecmf.encoding.feature import Vector, feature
from ecmf.media import RGB

Trim = Annotated[float, Field(ge=0, lt=0.5, description="Fraction cut off each side.")]


@feature(dim=6)
def example(image: RGB, *, trim: Trim = 0.0) -> Vector:
    """Return mean and standard deviation of red, green and blue, each between 0 and 1."""
    top, left = (int(trim * side) for side in image.shape[:2])
    inner = image[top : image.shape[0] - top, left : image.shape[1] - left] / 255
    return np.concatenate([inner.mean(axis=(0, 1)), inner.std(axis=(0, 1))])
