"""Example to copy: relabel a clip where the out-of-fold models are sure of another class.

A row of the result holds the class probabilities of a clip. A row of zeros leaves a label as it is,
and an unlabelled clip unlabelled.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from ecmf.config import Section
from ecmf.probabilities import Probabilities
from ecmf.refinement.base import SourceKind, SourceVotes, combine_models, out_of_fold_models


class Options(Section):
    """Certainty of the models."""

    threshold: float = Field(0.9, ge=0, le=1, description="Minimum probability of a class.")


class Refiner:
    """Return the models' probabilities where they are sure, else the label of the manifest."""

    source_kinds: ClassVar[frozenset[SourceKind]] = frozenset({"out_of_fold"})

    def __init__(self, options: Options) -> None:
        self._threshold = options.threshold

    def __call__(self, votes: Mapping[str, SourceVotes], classes: Sequence[str]) -> Probabilities:
        """Return class probabilities (clips, classes)."""
        given = votes["given"].probs
        models = out_of_fold_models(votes)
        if not models:  # too few groups to train any
            return given
        predicted = combine_models(models)
        sure = predicted.max(axis=1, keepdims=True) >= self._threshold
        return np.where(sure, predicted, given)
