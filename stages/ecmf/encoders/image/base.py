"""What every encoder of pictures promises."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from ecmf.encoders import base
from ecmf.encoders.base import Features, Vectors
from ecmf.media import RGB, Pictures


def per_picture(
    clips: Sequence[Pictures], row: Callable[[RGB], Vectors], dim: int
) -> list[Features]:
    """One row (dim,) per picture, with the picture's time."""
    return [
        Features(np.array([row(i) for i in clip.images], "float32").reshape(-1, dim), clip.times)
        for clip in clips
    ]


class Encoder(base.Encoder[Pictures], Protocol):
    """The pictures of a batch of clips in, rows per clip out.

    One row per picture with the picture's time, or fewer rows where an encoder looks at several
    pictures at once. Whole frames and face crops go through the same members.
    """
