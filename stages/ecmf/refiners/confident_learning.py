"""Replace labels that out-of-fold models contradict, by the rates at which classes are confused.

Northcutt, Jiang & Chuang 2021, "Confident Learning" (arXiv 1911.00068), by the package cleanlab. It
uses only the labels of the manifest and the models.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
from cleanlab.filter import find_label_issues
from pydantic import Field

from ecmf.config import Section
from ecmf.probabilities import Probabilities, normalise
from ecmf.refinement.base import SourceKind, SourceVotes, combine_models, out_of_fold_models


class Options(Section):
    """Options of `cleanlab.filter.find_label_issues`."""

    filter_by: Literal[
        "prune_by_noise_rate",
        "prune_by_class",
        "both",
        "confident_learning",
        "predicted_neq_given",
        "low_normalized_margin",
        "low_self_confidence",
    ] = Field("prune_by_noise_rate", description="Rule of cleanlab that finds label issues.")


class Refiner:
    """Replace labels in which cleanlab finds an issue by the models' probabilities."""

    source_kinds: ClassVar[frozenset[SourceKind]] = frozenset({"out_of_fold"})

    def __init__(self, options: Options) -> None:
        self._options = options

    def __call__(self, votes: Mapping[str, SourceVotes], classes: Sequence[str]) -> Probabilities:
        """Return the models' probabilities for issues and unlabelled clips, else the label."""
        given = votes["given"]
        posterior = given.probs.copy()
        models = out_of_fold_models(votes)
        if not models:
            return posterior
        predicted = combine_models(models)
        clips = np.flatnonzero(given.has_vote & predicted.any(axis=1))
        # cleanlab needs a label of every class, so classes without one are left out
        present = sorted(set(given.top_class[clips].tolist()))
        if len(present) > 1:
            issues = find_label_issues(
                np.searchsorted(present, given.top_class[clips]),
                normalise(predicted[np.ix_(clips, present)] + np.finfo("float64").tiny),
                filter_by=self._options.filter_by,
                n_jobs=1,
            )
            posterior[clips[issues]] = predicted[clips[issues]]
        unlabelled = ~given.has_vote
        posterior[unlabelled] = predicted[unlabelled]
        return posterior
