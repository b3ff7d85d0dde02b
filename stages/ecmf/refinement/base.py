"""Define votes of label sources, and the interface of rules that combine them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from ecmf.probabilities import Probabilities, normalise

SourceKind = Literal["given", "annotators", "out_of_fold", "llm", "tables", "text_cues", "trusted"]
"""Origin of votes.

`given` are the labels of the manifest, `out_of_fold` a model that was not trained on the group of
the predicted clip, `tables` a csv file of the user, `trusted` verified labels of some clips.
"""

FUSION = "fusion"
"""Name of the fusion model among the sources; classifiers are named after their features."""

SOURCE_KINDS: frozenset[SourceKind] = frozenset(get_args(SourceKind))


@dataclass(frozen=True)
class SourceVotes:
    """Class probabilities of each clip by one source; a row of zeros is no vote.

    `provenance` describes the source, for `sources.json`.
    """

    kind: SourceKind
    probs: Probabilities
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def has_vote(self) -> NDArray[np.bool_]:
        """Return whether the source votes on each clip, (clips,)."""
        return np.asarray(self.probs.any(axis=1))

    @cached_property
    def top_class(self) -> NDArray[np.int64]:
        """Index of the most probable class, (clips,); -1 without a vote."""
        if not self.probs.size:  # an unlabelled corpus has no class to take the maximum of
            return np.full(len(self.probs), -1)
        return np.where(self.has_vote, self.probs.argmax(axis=1), -1)


class Refiner(Protocol):
    """Combine the votes of all sources into one posterior per clip.

    The clips are those of the training split and, for pseudo-labels, unlabelled clips, on which
    `given` has no vote. `decision_rules` turns the posteriors into labels.
    """

    source_kinds: frozenset[SourceKind]
    """Kinds of sources that the refiner uses; votes of other kinds are not computed."""

    def __call__(self, votes: Mapping[str, SourceVotes], classes: Sequence[str]) -> Probabilities:
        """Return class probabilities (clips, classes); `votes` always has the source `given`.

        A row of zeros leaves the label unchanged, or an unlabelled clip unlabelled.
        """
        ...


def independent_sources(votes: Mapping[str, SourceVotes]) -> dict[str, SourceVotes]:
    """Return the sources without `trusted`, and with all models combined into one.

    Models are trained on the same labels and partly on the same features, so their votes are not
    independent.
    """
    counted = {
        name: source
        for name, source in votes.items()
        if source.kind not in ("trusted", "out_of_fold")
    }
    models = out_of_fold_models(votes)
    if models:
        counted["models"] = SourceVotes("out_of_fold", combine_models(models))
    return counted


def out_of_fold_models(votes: Mapping[str, SourceVotes]) -> dict[str, SourceVotes]:
    """Return the sources that are models."""
    return {name: source for name, source in votes.items() if source.kind == "out_of_fold"}


def combine_models(models: Mapping[str, SourceVotes]) -> Probabilities:
    """Return the probabilities of the fusion, or where it has no vote, the mean of the others."""
    mean = normalise(np.asarray(sum(source.probs for source in models.values())))
    if FUSION not in models:
        return mean
    fusion = models[FUSION]
    return np.where(fusion.has_vote[:, None], fusion.probs, mean)
