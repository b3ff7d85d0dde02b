"""Fit the weights of sources in decision-level fusion on clips that were not trained on.

The fused probabilities are the weighted product of those of each source alone, `p ∝ Π p_s^w_s`
(logarithmic opinion pool; Genest and Zidek, "Combining probability distributions", Statistical
Science 1(1), 1986). No weight is negative, so that a source can lose all say. A penalty shrinks the
weights towards their mean, since those of few clips are noise.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.model_selection import GroupKFold

PENALTIES = (0.0, 1.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 10_000.0)
"""Strengths of the shrinkage that are tried. A deviation of 1 from the mean costs half of one, in
nats, which a clip may gain."""

FOLDS = 5
"""Folds by group in which the strength is chosen."""

RESAMPLES = 100

NEGLIGIBLE = 0.05
"""Fraction of the mean weight below which a source has no say."""

Weights = NDArray[np.float64]


class Decisions(NamedTuple):
    """Predictions of clips by each source alone.

    Attributes:
        log_probs: Log-probabilities, (clips, sources, classes); zeros where the source is absent.
        truth: True class probabilities, (clips, classes).
        weight: Sample weight of each clip, (clips,).
        groups: Number of the group of each clip, (clips,).
    """

    log_probs: NDArray[np.float64]
    truth: NDArray[np.float64]
    weight: NDArray[np.float64]
    groups: NDArray[np.int64]

    def select(self, clips: NDArray[np.bool_]) -> "Decisions":
        """Return the predictions of some clips."""
        return Decisions(
            self.log_probs[clips], self.truth[clips], self.weight[clips], self.groups[clips]
        )


class FittedWeights(NamedTuple):
    """Weights of the sources, and how sure they are; each (sources,).

    Attributes:
        weights: The weights, with a mean of 1.
        low: Lower bound of their 95 % interval over groups.
        high: Upper bound.
        no_say: Share of the resamples of groups in which a weight is negligible.
    """

    weights: Weights
    low: Weights
    high: Weights
    no_say: Weights


def fit_decision_weights(decisions: Decisions) -> FittedWeights:
    """Fit the weights with the strength of shrinkage that predicts left-out groups best."""
    penalty = _choose_penalty(decisions)
    groups = np.unique(decisions.groups, return_inverse=True)[1]
    count = int(groups.max()) + 1
    rng = np.random.default_rng(0)
    draws = [
        _fit(decisions._replace(weight=decisions.weight * drawn[groups]), penalty)
        for drawn in rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    ]
    low, high = np.percentile(draws, (2.5, 97.5), axis=0)
    no_say = (np.array(draws) < NEGLIGIBLE).mean(axis=0)
    return FittedWeights(_fit(decisions, penalty), low, high, no_say)


def _choose_penalty(decisions: Decisions) -> float:
    folds = min(FOLDS, len(np.unique(decisions.groups)))
    if folds < 2:
        return PENALTIES[-1]
    splits = list(GroupKFold(folds).split(decisions.truth, groups=decisions.groups))

    def held_out_loss(penalty: float) -> float:
        total = 0.0
        for rest, held_out in splits:
            weights = _minimise(decisions.select(_mask(rest, decisions)), penalty)
            total += _loss(weights, decisions.select(_mask(held_out, decisions)))[0]
        return total

    return min(reversed(PENALTIES), key=held_out_loss)


def _mask(clips: NDArray[np.int64], decisions: Decisions) -> NDArray[np.bool_]:
    mask = np.zeros(len(decisions.truth), bool)
    mask[clips] = True
    return mask


def _fit(decisions: Decisions, penalty: float) -> Weights:
    """Fit the weights, and divide them by their mean; equal ones if all are zero."""
    weights = _minimise(decisions, penalty)
    mean = weights.mean()
    return weights / mean if mean > 0 else np.ones_like(weights)


def _minimise(decisions: Decisions, penalty: float) -> Weights:
    def objective(weights: Weights) -> tuple[float, Weights]:
        loss, gradient = _loss(weights, decisions)
        deviation = weights - weights.mean()
        return loss + penalty / 2 * float(deviation @ deviation), gradient + penalty * deviation

    sources = decisions.log_probs.shape[1]
    start = np.full(sources, 1 / sources)
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * sources)
    return np.asarray(found.x)


def _loss(weights: Weights, decisions: Decisions) -> tuple[float, Weights]:
    """Return the cross entropy, summed over clips, and its gradient by the weights."""
    log_probs, truth, weight, _ = decisions
    fused = log_softmax(np.einsum("nsc,s->nc", log_probs, weights), axis=1)
    loss = -float((weight[:, None] * truth * fused).sum())
    error = weight[:, None] * (np.exp(fused) * truth.sum(axis=1, keepdims=True) - truth)
    return loss, np.einsum("nsc,nc->s", log_probs, error)
