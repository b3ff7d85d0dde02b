"""Estimate a confusion matrix per source and the posterior of each clip by EM.

Dawid & Skene 1979, "Maximum likelihood estimation of observer error-rates using the EM algorithm",
with a Dirichlet prior, so that a source with few votes is not certain.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import softmax

from ecmf.config import Section
from ecmf.probabilities import Probabilities, normalise
from ecmf.refinement.base import SourceKind, SourceVotes, independent_sources

INDEPENDENT: frozenset[SourceKind] = frozenset({"given", "annotators", "llm", "tables"})

EPS = 1e-10
"""Keeps the logarithm of a probability of 0 finite."""


class Options(Section):
    """Options of the EM algorithm.

    The method assumes independent sources, but models are trained on the manifest's labels: if only
    these two vote, the posterior follows the models.
    """

    iterations: int = Field(100, ge=1, description="Maximum number of EM steps.")
    tolerance: float = Field(1e-6, gt=0, description="EM stops at a smaller change of posteriors.")
    smoothing: float = Field(0.1, ge=0, description="Clips added to cells of confusion matrices.")
    models: bool = Field(False, description="Whether out-of-fold models vote, as one source.")


class Refiner:
    """Return the posterior of each clip under the Dawid-Skene model."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.source_kinds: frozenset[SourceKind] = INDEPENDENT | (
            {"out_of_fold"} if options.models else set()
        )

    def __call__(self, votes: Mapping[str, SourceVotes], classes: Sequence[str]) -> Probabilities:
        """Fit the confusion matrices and return the posteriors."""
        top = [
            source.top_class
            for source in independent_sources(votes).values()
            if source.kind in self.source_kinds
        ]
        options = self._options
        posterior, _ = fit(
            np.array(top), len(classes), options.iterations, options.tolerance, options.smoothing
        )
        return posterior


def fit(
    votes: NDArray[np.int64], classes: int, iterations: int, tolerance: float, smoothing: float
) -> tuple[Probabilities, NDArray[np.float64]]:
    """Run EM from the majority of the votes.

    Args:
        votes: Class indices (sources, clips), -1 for no vote.
        classes: Number of classes.
        iterations: Maximum number of steps.
        tolerance: EM stops if no posterior changes by more than this.
        smoothing: Clips added to every cell of a confusion matrix.

    Returns:
        Posteriors (clips, classes), zeros for a clip without votes, and the confusion matrices
        (sources, true class, voted class).
    """
    one_hot = np.stack([votes == index for index in range(classes)], axis=-1).astype("float64")
    has_vote = np.asarray((votes >= 0).any(axis=0))
    posterior = normalise(one_hot.sum(axis=0))
    confusion = np.zeros((len(votes), classes, classes))
    for _ in range(iterations):
        prior = posterior.sum(axis=0) / max(1, int(has_vote.sum()))
        counts = np.einsum("nk,snj->skj", posterior, one_hot) + smoothing
        total = counts.sum(axis=2, keepdims=True)
        confusion = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
        log_joint = np.log(prior + EPS) + np.einsum("snj,skj->nk", one_hot, np.log(confusion + EPS))
        before, posterior = posterior, softmax(log_joint, axis=1) * has_vote[:, None]
        if np.abs(posterior - before).max(initial=0) < tolerance:
            break
    return posterior, confusion
