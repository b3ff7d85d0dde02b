"""Fit the weights of ensemble members, and a class prior, on validation clips."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecmf.errors import ParamsError
from ecmf.metrics import Labels
from ecmf.params import EvaluateFusion, TrainFusion
from ecmf.probabilities import EPS, Factors, Probabilities, apply_prior, prior_factors

MAX_STEPS = 10_000
MIN_GAIN = 1e-10
"""Gain of the mean log-likelihood per clip below which the iteration stops."""


@dataclass(frozen=True)
class EnsembleWeights:
    """Weights (members,) that sum to one, and prior factors (classes,) or None."""

    weights: NDArray[np.float64]
    factors: Factors | None

    def __call__(self, members: Sequence[Probabilities]) -> Probabilities:
        """Combine the members' predictions, (…, clips, outputs) each; rows of NaN stay NaN."""
        joint: Probabilities = np.sum(
            [weight * probs for weight, probs in zip(self.weights, members, strict=True)], axis=0
        )
        if self.factors is None:
            return joint
        known = ~np.isnan(joint).any(axis=-1)
        joint[known] = apply_prior(joint[known], self.factors)
        return joint


def reported_weights(
    details: Mapping[str, Any], name: str, members: Sequence[str], outputs: Sequence[str]
) -> EnsembleWeights:
    """Read the weights and factors of a seed and outer fold from `evaluation_details.json`."""
    votes, factors = details.get("votes"), details.get("class_factors")
    weights = [votes[name][member] for member in members] if votes else [1.0]
    return EnsembleWeights(
        np.array(weights), np.array([factors[name][key] for key in outputs]) if factors else None
    )


def check_validation_clips(params: EvaluateFusion, training: TrainFusion) -> None:
    """Raise ParamsError if a parameter requires validation clips, but all clips are trained on."""
    for key in ("ensemble_weights", "class_prior"):
        if getattr(params, key) == "validation" and training.folds == 0:
            raise ParamsError(
                f"evaluate_fusion.{key} is 'validation', but with train_fusion.folds 0 every clip "
                f"is trained on: set folds to 2 or more, or {key} to "
                f"{EvaluateFusion.model_fields[key].default}"
            )


def fit_weights(
    members: Sequence[Probabilities], truth: Labels, params: EvaluateFusion
) -> EnsembleWeights:
    """Fit the ensemble weights and the class prior on validation clips, if `params` enable it.

    Each member's probabilities are (clips, classes).
    """
    weights = np.full(len(members), 1 / len(members))
    if params.ensemble_weights == "validation":
        of_truth = [probs[np.arange(len(truth)), truth] for probs in members]
        weights = fit_mixture_weights(np.stack(of_truth, axis=1))
    unscaled = EnsembleWeights(weights, None)
    if params.class_prior == "none":
        return unscaled
    prior = np.bincount(truth, minlength=members[0].shape[1]) / len(truth)
    return EnsembleWeights(weights, prior_factors(prior, unscaled(members)))


def fit_mixture_weights(likelihoods: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fit weights by maximum likelihood to the probabilities of the true classes (clips, members).

    Expectation maximisation of only the mixture weights (Dempster, Laird and Rubin 1977, 4.3),
    from equal weights: the log-likelihood is concave, so it converges to the maximum. Clips whose
    class has probability 0 for every member are left out.
    """
    likelihoods = likelihoods[likelihoods.max(axis=1) > EPS]
    weights = np.full(likelihoods.shape[1], 1 / likelihoods.shape[1])
    previous = -np.inf
    for _ in range(MAX_STEPS if len(likelihoods) else 0):
        mixture = (likelihoods * weights).sum(axis=1)
        log_likelihood = float(np.log(mixture).mean())
        if log_likelihood - previous < MIN_GAIN:
            break
        previous = log_likelihood
        weights = (likelihoods * weights / mixture[:, None]).mean(axis=0)
    return np.asarray(weights / weights.sum())
