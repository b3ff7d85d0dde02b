"""Compare the probability of the predicted class with how often it is right."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BINS = 10
"""Bins of equal width between 0 and 1."""


class Bin(NamedTuple):
    """The clips whose predicted class has a probability above `low` and up to `high`.

    `confidence` is its mean, `accuracy` the fraction of the clips predicted right.
    """

    low: float
    high: float
    clips: int
    confidence: float
    accuracy: float


def reliability(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> list[Bin]:
    """Bin the predictions (clips,) by confidence, and leave out the empty bins."""
    edges = np.linspace(0, 1, BINS + 1)
    number = np.clip(np.digitize(confidence, edges, right=True) - 1, 0, BINS - 1)
    return [
        Bin(
            float(edges[i]),
            float(edges[i + 1]),
            int(chosen.sum()),
            float(confidence[chosen].mean()),
            float(right[chosen].mean()),
        )
        for i in range(BINS)
        if (chosen := number == i).any()
    ]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Return the expected calibration error (ECE).

    It is the mean over clips of the gap between confidence and accuracy of their bin (Guo et al.,
    2017, "On Calibration of Modern Neural Networks", equation 3).
    """
    clips = sum(each.clips for each in bins)
    return sum(each.clips * abs(each.accuracy - each.confidence) for each in bins) / clips
