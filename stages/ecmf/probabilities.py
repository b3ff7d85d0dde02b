"""Prior correction: scale predicted class probabilities so that their mean equals a prior.

Without this correction, self-training amplifies the classes the model already over-predicts. The
factors are fitted on some clips and may be applied to others.
"""

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float64]
"""Class probabilities (clips, classes); a row of zeros means that there is no prediction."""

STEPS = 100
"""Fixed-point iterations; convergence takes far fewer."""

EPS = 1e-12

Factors = NDArray[np.float64]
"""Multiplier of each class, (classes,); the largest is 1."""


def prior_factors(prior: NDArray[np.float64], probs: Probabilities) -> Factors:
    """Fit the factors that make `prior` (classes,) the mean of the scaled `probs`."""
    factors = np.ones(len(prior))
    for _ in range(STEPS if len(probs) else 0):
        mean = apply_prior(probs, factors).mean(axis=0)
        # A class of probability zero everywhere stays at zero, whatever its factor.
        factors = factors * np.where(mean > EPS, prior / np.maximum(mean, EPS), 1)
        factors = np.maximum(factors / factors.max(), EPS)
    return factors


def apply_prior(probs: Probabilities, factors: Factors) -> Probabilities:
    """Multiply each class by its factor and normalise each row."""
    return normalise(probs * factors)


def normalise(probs: Probabilities) -> Probabilities:
    """Divide each row by its sum; rows of zeros stay zero."""
    total = probs.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(probs, total, out=np.zeros_like(probs), where=total > 0))
