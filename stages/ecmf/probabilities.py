"""Probabilities -> the same, with every class scaled so that the mean is as it should be.

What a model prefers it would else prefer ever more. The factors are found on some clips, and may be
applied to others.
"""

import numpy as np
from numpy.typing import NDArray

Shares = NDArray[np.float64]
"""Probabilities (clips, classes); a row of zeros is no opinion."""

STEPS = 100
"""Rescalings until the mean probabilities are the wanted ones; far more than it takes."""

TINY = 1e-12

Factors = NDArray[np.float64]
"""What each class is multiplied by, (classes,); the largest is 1."""


def factors_to(wanted: NDArray[np.float64], shares: Shares) -> Factors:
    """Find the factors that make `wanted` (classes,) the mean of `shares` once scaled."""
    factors = np.ones(len(wanted))
    for _ in range(STEPS if len(shares) else 0):
        mean = scaled(shares, factors).mean(axis=0)
        # A class that nothing is believed to be stays so, whatever it is scaled by.
        factors = factors * np.where(mean > TINY, wanted / np.maximum(mean, TINY), 1)
        factors = np.maximum(factors / factors.max(), TINY)
    return factors


def scaled(shares: Shares, factors: Factors) -> Shares:
    """Multiply each class by its factor, and let each row sum to one again."""
    return normalised(shares * factors)


def normalised(votes: Shares) -> Shares:
    """Rows that sum to one; rows of zeros stay."""
    total = votes.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(votes, total, out=np.zeros_like(votes), where=total > 0))
