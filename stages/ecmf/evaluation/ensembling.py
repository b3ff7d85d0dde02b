"""Members' probabilities and validation labels -> how the members vote together.

What is fitted here is fitted on clips that only stopped the trainings, and applied to others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecmf.errors import ParamsError
from ecmf.metrics import Labels
from ecmf.params import EvaluateFusion, TrainFusion
from ecmf.probabilities import Factors, Shares, factors_to, scaled

MOST_STEPS = 10_000
SMALLEST_GAIN = 1e-10
"""Mean log-likelihood per clip; a step that gains less is the last."""

TINY = 1e-12


@dataclass(frozen=True)
class Vote:
    """How members vote: `weights` (members,) sum to one, `factors` (classes,) scale what they say.

    `factors` is None where no class is scaled.
    """

    weights: NDArray[np.float64]
    factors: Factors | None

    def __call__(self, said: Sequence[Shares]) -> Shares:
        """Join what the members say, (clips, classes) each; a clip that is NaN stays so."""
        joint: Shares = np.sum(
            [weight * shares for weight, shares in zip(self.weights, said, strict=True)], axis=0
        )
        if self.factors is None:
            return joint
        known = ~np.isnan(joint).any(axis=1)
        joint[known] = scaled(joint[known], self.factors)
        return joint


def check_votes(params: EvaluateFusion, training: TrainFusion) -> None:
    """Refuse to fit a vote where the training left no validation clips, with ParamsError."""
    for key, value in (("votes", params.votes), ("prior", params.prior)):
        if value == "validation" and training.folds == 0:
            raise ParamsError(
                f"evaluate_fusion.{key} is 'validation', but with train_fusion.folds 0 every clip "
                f"was learned from: set folds to 2 or more, or {key} to "
                f"{EvaluateFusion.model_fields[key].default}"
            )


def fit_vote(said: Sequence[Shares], truth: Labels, params: EvaluateFusion) -> Vote:
    """Fit what `params` ask for on validation clips.

    `said` is (clips, classes) of each member, `truth` (clips,) positions of the clips' classes.
    """
    weights = np.full(len(said), 1 / len(said))
    if params.votes == "validation":
        right = [shares[np.arange(len(truth)), truth] for shares in said]
        weights = mixture(np.stack(right, axis=1))
    vote = Vote(weights, None)
    if params.prior == "none":
        return vote
    classes = said[0].shape[1]
    wanted = np.bincount(truth, minlength=classes) / len(truth)
    return Vote(weights, factors_to(wanted, vote(said)))


def mixture(right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of most likelihood for what members gave the true classes, (clips, members).

    Expectation maximisation of the weights alone (Dempster, Laird and Rubin 1977, 4.3): the
    likelihood is concave, so it ends at the best ones, from equal ones on. A clip to which no
    member gives its class tells nothing.
    """
    right = right[right.max(axis=1) > TINY]
    weights = np.full(right.shape[1], 1 / right.shape[1])
    before = -np.inf
    for _ in range(MOST_STEPS if len(right) else 0):
        joint = (right * weights).sum(axis=1)
        likelihood = float(np.log(joint).mean())
        if likelihood - before < SMALLEST_GAIN:
            break
        before = likelihood
        weights = (right * weights / joint[:, None]).mean(axis=0)
    return np.asarray(weights / weights.sum())
