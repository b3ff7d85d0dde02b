"""A confusion matrix per source and the most likely classes, each found from the other.

Dawid & Skene 1979, "Maximum likelihood estimation of observer error-rates using the EM algorithm",
with a Dirichlet prior, so that a source that spoke of few clips is not taken for certain.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import softmax

from ecmf.config import Section
from ecmf.probabilities import Shares, normalised
from ecmf.refinement.base import Kind, Opinion, voices

INDEPENDENT: frozenset[Kind] = frozenset({"given", "annotators", "llm", "tables"})

TINY = 1e-10
"""Keeps the logarithm of a share of 0 finite."""


class Options(Section):
    """`smoothing`: clips added to every cell of a source's confusion matrix.

    `models`: whether models vote. They learned from the given labels, while the method takes all
    sources for independent: where nobody but models speaks beside these, it follows the models.
    """

    iterations: int = Field(100, ge=1)
    tolerance: float = Field(1e-6, gt=0)
    smoothing: float = Field(0.1, ge=0)
    models: bool = False


class Refiner:
    """Probabilities of the classes of each clip, by the most likely votes of all sources."""

    def __init__(self, options: Options) -> None:
        """Take the options."""
        self._options = options
        self.reads: frozenset[Kind] = INDEPENDENT | ({"out_of_fold"} if options.models else set())

    def __call__(self, opinions: Mapping[str, Opinion], classes: Sequence[str]) -> Shares:
        """Fit the matrices and return the posteriors; models count as one voice, if at all."""
        votes = [one.said for one in voices(opinions).values() if one.kind in self.reads]
        options = self._options
        posterior, _ = fit(
            np.array(votes), len(classes), options.iterations, options.tolerance, options.smoothing
        )
        return posterior


def fit(
    votes: NDArray[np.int64], classes: int, iterations: int, tolerance: float, smoothing: float
) -> tuple[Shares, NDArray[np.float64]]:
    """Run EM from the majority of the votes.

    Args:
        votes: (sources, clips), a class each, or -1 where a source has no opinion.
        classes: How many there are.
        iterations: Steps at most.
        tolerance: Largest change of a posterior at which it stops.
        smoothing: Clips added to every cell of a confusion matrix.

    Returns:
        Posteriors (clips, classes), zeros where nobody spoke, and the confusion matrices
        (sources, true class, said class).
    """
    said = np.stack([votes == one for one in range(classes)], axis=-1).astype("float64")
    spoken = np.asarray((votes >= 0).any(axis=0))
    posterior = normalised(said.sum(axis=0))
    confusion = np.zeros((len(votes), classes, classes))
    for _ in range(iterations):
        prior = posterior.sum(axis=0) / max(1, int(spoken.sum()))
        counts = np.einsum("nk,snj->skj", posterior, said) + smoothing
        total = counts.sum(axis=2, keepdims=True)
        confusion = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
        likely = np.log(prior + TINY) + np.einsum("snj,skj->nk", said, np.log(confusion + TINY))
        before, posterior = posterior, softmax(likely, axis=1) * spoken[:, None]
        if np.abs(posterior - before).max(initial=0) < tolerance:
            break
    return posterior, confusion
