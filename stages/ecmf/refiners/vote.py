"""A weighted vote of all sources.

Multi-source labelling is one of ECMF's contributions (arXiv 2508.05991, abstract); which sources
and how they are weighed is not stated there, and is ours.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from ecmf.config import Section
from ecmf.probabilities import Shares, normalised
from ecmf.refinement.base import KINDS, Opinion, voices

FEWEST_CLIPS = 10
"""Clips a source must have been compared on before its weight is measured and not set."""


class Options(Section):
    """How much the sources of a kind count.

    The weight of a kind is that of each of its sources; all models are one voice. With `weights`
    `agreement` it is multiplied by what the source's agreement on trusted clips is worth:
    `log(a (K - 1) / (1 - a))` of K classes, the weight of an independent voter who is right in a
    share `a` (Nitzan & Paroush 1982), or 0 where that is negative. Trusted are the clips of
    `refine_labels.trusted`; without them those on which more than half of all other voices agree.
    """

    weights: Literal["set", "agreement"] = "set"
    given: float = Field(1.0, ge=0)
    annotators: float = Field(1.0, ge=0)
    out_of_fold: float = Field(1.0, ge=0)
    llm: float = Field(1.0, ge=0)
    tables: float = Field(1.0, ge=0)
    text_cues: float = Field(0.25, ge=0)


class Refiner:
    """Add up what the sources say."""

    def __init__(self, options: Options) -> None:
        """Take the weights."""
        self._options = options
        self.reads = frozenset(kind for kind in KINDS if getattr(options, kind, 1.0))

    def __call__(self, opinions: Mapping[str, Opinion], classes: Sequence[str]) -> Shares:
        """Return the share of the votes that each class gets."""
        counted = voices(opinions)
        weights = {name: getattr(self._options, one.kind) for name, one in counted.items()}
        if self._options.weights == "agreement":
            worth = _worth(counted, weights, opinions.get("trusted"), len(classes))
            weights = {name: weight * worth[name] for name, weight in weights.items()}
        votes = sum(weights[name] * one.shares for name, one in counted.items())
        return normalised(np.asarray(votes))


def _worth(
    counted: Mapping[str, Opinion],
    weights: Mapping[str, float],
    trusted: Opinion | None,
    classes: int,
) -> dict[str, float]:
    """Measure what each source's vote is worth, by how often it is right on trusted clips."""
    total = sum(weights[name] * one.shares for name, one in counted.items())
    worth = {}
    for name, one in counted.items():
        if trusted is None:
            others = np.asarray(total - weights[name] * one.shares)
            truth = np.where(normalised(others).max(axis=1) > 0.5, others.argmax(axis=1), -1)
        else:
            truth = trusted.said
        compared = one.speaks & (truth >= 0)
        if compared.sum() < FEWEST_CLIPS:
            worth[name] = 1.0
            continue
        right = int((one.said == truth)[compared].sum())
        share = (right + 1) / (int(compared.sum()) + 2)  # Laplace: nobody is always right
        worth[name] = max(0.0, float(np.log(share * (classes - 1) / (1 - share))))
    return worth
