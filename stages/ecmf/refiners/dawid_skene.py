"""Estimate a confusion matrix per source and the posterior of each clip by EM.

Dawid & Skene 1979, "Maximum likelihood estimation of observer error-rates using the EM algorithm",
with a Dirichlet prior on the rows of each confusion matrix, as in "Bayesian Classifier Combination"
(Kim & Ghahramani 2012), so that a source with few votes is not certain. That it can favour the
diagonal is ours: then such a source is not below chance either.
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

    People err together on the clips that are hard for all, against the independence that the method
    assumes. `correct` keeps the classes from drifting to such a pattern, but also from following a
    majority of sources that confuses the same classes (`benchmarks/README.md`).

    Models are not independent either, for they are trained on the manifest's labels: if only these
    two vote, the posterior follows the models.
    """

    iterations: int = Field(100, ge=1, description="Maximum number of EM steps.")
    tolerance: float = Field(1e-6, gt=0, description="EM stops at a smaller change of posteriors.")
    smoothing: float = Field(0.1, ge=0, description="Clips added to cells of confusion matrices.")
    correct: float = Field(
        0.0, ge=0, description="Clips of each class that a source is assumed to have got right."
    )
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
        prior = options.smoothing + options.correct * np.eye(len(classes))
        posterior, _ = fit(np.array(top), prior, options.iterations, options.tolerance)
        return posterior


def fit(
    votes: NDArray[np.int64], prior_counts: NDArray[np.float64], iterations: int, tolerance: float
) -> tuple[Probabilities, NDArray[np.float64]]:
    """Run EM from the majority of the votes.

    Args:
        votes: Class indices (sources, clips), -1 for no vote.
        prior_counts: Clips added to every confusion matrix (true class, voted class).
        iterations: Maximum number of steps.
        tolerance: EM stops if no posterior changes by more than this.

    Returns:
        Posteriors (clips, classes), zeros for a clip without votes, and the confusion matrices
        (sources, true class, voted class).
    """
    classes = len(prior_counts)
    one_hot = np.stack([votes == index for index in range(classes)], axis=-1).astype("float64")
    has_vote = np.asarray((votes >= 0).any(axis=0))
    posterior = normalise(one_hot.sum(axis=0))
    confusion = np.zeros((len(votes), classes, classes))
    for _ in range(iterations):
        prior = posterior.sum(axis=0) / max(1, int(has_vote.sum()))
        counts = np.einsum("nk,snj->skj", posterior, one_hot) + prior_counts
        total = counts.sum(axis=2, keepdims=True)
        confusion = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
        log_joint = np.log(prior + EPS) + np.einsum("snj,skj->nk", one_hot, np.log(confusion + EPS))
        before, posterior = posterior, softmax(log_joint, axis=1) * has_vote[:, None]
        if np.abs(posterior - before).max(initial=0) < tolerance:
            break
    return posterior, confusion
