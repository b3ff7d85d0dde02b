"""Decide on the label and weight of a clip by its label in the manifest and its posterior."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np

from ecmf.params import Disagreement
from ecmf.probabilities import Probabilities

ROUNDING = 1e-9
"""Posteriors that differ by less, e.g. from the order of a sum, are equal."""


@dataclass(frozen=True)
class Decision:
    """Target and weight of a clip in training, with the name and the reason of the decision.

    `soft` is a probability per class; a clip of `weight` 0 is left out.
    """

    soft: tuple[float, ...]
    weight: float
    name: str
    reason: str = ""


def decide(
    given: Probabilities,
    posterior: Probabilities,
    classes: Sequence[str],
    disagreement: Disagreement,
    min_confidence: float,
) -> list[Decision]:
    """Apply the label policy to every clip.

    Args:
        given: The labels of the manifest, one-hot (clips, classes).
        posterior: Class probabilities from a refiner, (clips, classes).
        classes: Names of the classes.
        disagreement: Policy for a clip with a class more probable than its label.
        min_confidence: Minimum probability of that class; below it, the label is kept.
    """
    return [
        _decide(*rows, classes, disagreement, min_confidence)
        for rows in zip(given, posterior, strict=True)
    ]


def _decide(
    given: np.ndarray,
    posterior: np.ndarray,
    classes: Sequence[str],
    disagreement: Disagreement,
    min_confidence: float,
) -> Decision:
    own, winner = int(given.argmax()), int(posterior.argmax())
    label = tuple(given.tolist())
    if not posterior.any():
        return Decision(label, 1.0, "kept", "nothing else is believed")
    reason = f"{classes[winner]} {posterior[winner]:.2f}"
    if posterior[own] >= posterior[winner] - ROUNDING:  # the label wins a tie
        return Decision(label, 1.0, "kept", f"{classes[own]} {posterior[own]:.2f}")
    reason += f" against {classes[own]} {posterior[own]:.2f}"
    if posterior[winner] < min_confidence:
        return Decision(label, 1.0, "kept", f"{reason}, below {min_confidence:g}")
    if disagreement == "keep":
        return Decision(label, 1.0, "kept", reason)
    if disagreement == "soften":
        return Decision(tuple(posterior.tolist()), 1.0, "softened", reason)
    if disagreement == "downweight":
        return Decision(label, float(posterior[own]), "downweighted", reason)
    if disagreement == "relabel":
        one_hot = np.eye(len(classes))[winner]
        return Decision(tuple(one_hot.tolist()), 1.0, "relabelled", reason)
    if disagreement == "drop":
        return Decision(label, 0.0, "dropped", reason)
    assert_never(disagreement)
