"""What a clip is made of once it is decoded: pictures, sound, text."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLES_PER_SECOND = 16_000
"""Rate of all audio between stages."""

RGB = NDArray[np.uint8]
"""One picture, (height, width, 3), red first."""

Samples = NDArray[np.int16]
"""A mono waveform at SAMPLES_PER_SECOND, (samples,)."""

Seconds = NDArray[np.float64]
"""Points in time, (rows,), counted from the start of the clip."""


@dataclass(frozen=True)
class Pictures:
    """The frames or the face crops of one clip, and when each was taken."""

    clip_id: str
    images: Sequence[RGB]
    times: Seconds


@dataclass(frozen=True)
class Sound:
    """The voice of one clip; no sample at all where the clip is silent by nature."""

    clip_id: str
    samples: Samples


@dataclass(frozen=True)
class Text:
    """What is said in one clip; an empty string where there is no transcript.

    `before` are the lines of its dialogue that an encoder is to read along, the latest last.
    """

    clip_id: str
    text: str
    before: tuple[str, ...] = ()


Vectors = NDArray[np.float32]
"""Rows of features, (rows, dim); float16 where a network computes in half precision."""


@dataclass(frozen=True)
class Features:
    """What an encoder says of one clip: `values` (rows, dim), and the `times` (rows,) of each.

    No row at all where the clip gives nothing to encode, never a row of zeros.
    """

    values: Vectors
    times: Seconds
