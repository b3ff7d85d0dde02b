"""What to believe of a clip, and the label it was given -> what becomes of it in training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np

from ecmf.params import Disagreement
from ecmf.probabilities import Shares

ROUNDING = 1e-9
"""Sums of the same weights in another order differ by less."""


@dataclass(frozen=True)
class Decision:
    """What becomes of a clip: its distribution over the classes, its weight, what was done, why."""

    soft: tuple[float, ...]
    weight: float
    name: str
    reason: str = ""


def decide(
    given: Shares,
    believed: Shares,
    classes: Sequence[str],
    disagreement: Disagreement,
    least_confidence: float,
) -> list[Decision]:
    """Decide on every clip.

    Args:
        given: One-hot (clips, classes).
        believed: What a refiner makes of all opinions, (clips, classes).
        classes: Their names.
        disagreement: What becomes of a clip of which another class is believed more than its own.
        least_confidence: Share that class must have, or the label stands.
    """
    return [
        _decide(*rows, classes, disagreement, least_confidence)
        for rows in zip(given, believed, strict=True)
    ]


def _decide(
    given: np.ndarray,
    believed: np.ndarray,
    classes: Sequence[str],
    disagreement: Disagreement,
    least_confidence: float,
) -> Decision:
    own, winner = int(given.argmax()), int(believed.argmax())
    label = tuple(given.tolist())
    if not believed.any():
        return Decision(label, 1.0, "kept", "nothing else is believed")
    why = f"{classes[winner]} {believed[winner]:.2f}"
    if believed[own] >= believed[winner] - ROUNDING:  # the given label wins a tie
        return Decision(label, 1.0, "kept", f"{classes[own]} {believed[own]:.2f}")
    why += f" against {classes[own]} {believed[own]:.2f}"
    if believed[winner] < least_confidence:
        return Decision(label, 1.0, "kept", f"{why}, below {least_confidence:g}")
    if disagreement == "keep":
        return Decision(label, 1.0, "kept", why)
    if disagreement == "soften":
        return Decision(tuple(believed.tolist()), 1.0, "softened", why)
    if disagreement == "weigh_down":
        return Decision(label, float(believed[own]), "weighed_down", why)
    if disagreement == "relabel":
        one_hot = np.eye(len(classes))[winner]
        return Decision(tuple(one_hot.tolist()), 1.0, "relabelled", why)
    if disagreement == "drop":
        return Decision(label, 0.0, "dropped", why)
    assert_never(disagreement)
