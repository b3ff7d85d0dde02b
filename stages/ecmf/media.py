"""Types of decoded media: images, audio, text, and features computed from them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
"""Sample rate of all audio between stages, in Hz."""

RGB = NDArray[np.uint8]
"""One image, (height, width, 3), red first."""

Samples = NDArray[np.int16]
"""A mono waveform at SAMPLE_RATE, (samples,)."""

Seconds = NDArray[np.float64]
"""Points in time, (rows,), counted from the start of the clip."""


@dataclass(frozen=True)
class Images:
    """Frames or face crops of one clip, with the time of each."""

    clip_id: str
    images: Sequence[RGB]
    times: Seconds


@dataclass(frozen=True)
class Audio:
    """Waveform of one clip; empty if the clip has no audio track."""

    clip_id: str
    samples: Samples


@dataclass(frozen=True)
class Text:
    """Transcript of one clip; an empty string if there is none.

    `context` holds the preceding lines of the dialogue that an encoder reads along, latest last.
    """

    clip_id: str
    text: str
    context: tuple[str, ...] = ()


Vectors = NDArray[np.float32]
"""Rows of features, (rows, dim); float16 where a network computes in half precision."""


@dataclass(frozen=True)
class Features:
    """Features of one clip: `values` (rows, dim), and the time of each row, `times` (rows,).

    A token has no seconds: its time is its position in the text, from 0. A clip with nothing to
    encode has no row, never a row of zeros.
    """

    values: Vectors
    times: Seconds
