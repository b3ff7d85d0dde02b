"""Combine all sources by a weighted vote.

Multi-source labelling is a contribution of ECMF (arXiv 2508.05991, abstract). The paper does not
state its sources and weights; these are ours.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from ecmf.config import Section
from ecmf.probabilities import Probabilities, normalise
from ecmf.refinement.base import SOURCE_KINDS, SourceVotes, independent_sources

MIN_COMPARED_CLIPS = 10
"""Minimum clips for estimating the weight of a source."""


class Options(Section):
    """Weight of each source of a kind; all models together are one source.

    `weights: agreement` multiplies the weight of a source by `log(a (K - 1) / (1 - a))` for K
    classes, the weight of an independent voter of accuracy `a` (Nitzan & Paroush 1982), or by 0 if
    that is negative. `a` is estimated on the clips of `refine_labels.trusted`, or without them on
    clips for which more than half of all other votes agree.
    """

    weights: Literal["set", "agreement"] = Field(
        "set", description="`set`: weights below; `agreement`: these times an accuracy's weight."
    )
    given: float = Field(1.0, ge=0, description="Weight of the manifest's labels.")
    annotators: float = Field(1.0, ge=0, description="Weight of each annotator.")
    out_of_fold: float = Field(1.0, ge=0, description="Weight of all models together.")
    llm: float = Field(1.0, ge=0, description="Weight of the provider of enrich_text.")
    tables: float = Field(1.0, ge=0, description="Weight of each csv of refine_labels.tables.")
    text_cues: float = Field(0.25, ge=0, description="Weight of the polarity of the transcript.")


class Refiner:
    """Return the weighted mean of the votes."""

    def __init__(self, options: Options) -> None:
        """Set the weights; sources of weight 0 are not computed."""
        self._options = options
        self.source_kinds = frozenset(kind for kind in SOURCE_KINDS if getattr(options, kind, 1.0))

    def __call__(self, votes: Mapping[str, SourceVotes], classes: Sequence[str]) -> Probabilities:
        """Return the weighted fraction of votes for each class."""
        sources = independent_sources(votes)
        weights = {name: getattr(self._options, source.kind) for name, source in sources.items()}
        if self._options.weights == "agreement":
            factors = _source_weights(sources, weights, votes.get("trusted"), len(classes))
            weights = {name: weight * factors[name] for name, weight in weights.items()}
        total = sum(weights[name] * source.probs for name, source in sources.items())
        return normalise(np.asarray(total))


def _source_weights(
    sources: Mapping[str, SourceVotes],
    weights: Mapping[str, float],
    trusted: SourceVotes | None,
    classes: int,
) -> dict[str, float]:
    """Estimate the weight of each source from its accuracy, see `Options`."""
    total = sum(weights[name] * source.probs for name, source in sources.items())
    estimated = {}
    for name, source in sources.items():
        if trusted is None:
            others = np.asarray(total - weights[name] * source.probs)
            truth = np.where(normalise(others).max(axis=1) > 0.5, others.argmax(axis=1), -1)
        else:
            truth = trusted.top_class
        compared = source.has_vote & (truth >= 0)
        if compared.sum() < MIN_COMPARED_CLIPS:
            estimated[name] = 1.0
            continue
        correct = int((source.top_class == truth)[compared].sum())
        accuracy = (correct + 1) / (int(compared.sum()) + 2)  # Laplace: never exactly 0 or 1
        estimated[name] = max(0.0, float(np.log(accuracy * (classes - 1) / (1 - accuracy))))
    return estimated
