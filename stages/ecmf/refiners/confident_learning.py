"""Labels that out-of-fold models contradict, by the rates at which classes are mixed up.

Northcutt, Jiang & Chuang 2021, "Confident Learning" (arXiv 1911.00068), by the package cleanlab. It
looks at the given label and at models alone.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
from cleanlab.filter import find_label_issues

from ecmf.config import Section
from ecmf.probabilities import Shares, normalised
from ecmf.refinement.base import Kind, Opinion, joint


class Options(Section):
    """`filter_by` is cleanlab's: which of the doubtful labels are called issues."""

    filter_by: Literal[
        "prune_by_noise_rate",
        "prune_by_class",
        "both",
        "confident_learning",
        "predicted_neq_given",
        "low_normalized_margin",
        "low_self_confidence",
    ] = "prune_by_noise_rate"


class Refiner:
    """Believe the models where cleanlab finds the given label an issue, else the label."""

    reads: ClassVar[frozenset[Kind]] = frozenset({"out_of_fold"})

    def __init__(self, options: Options) -> None:
        """Take the options."""
        self._options = options

    def __call__(self, opinions: Mapping[str, Opinion], classes: Sequence[str]) -> Shares:
        """Return the models' probabilities for issues and unlabelled clips, else the label."""
        given = opinions["given"]
        believed = given.shares.copy()
        models = {name: one for name, one in opinions.items() if one.kind == "out_of_fold"}
        if not models:
            return believed
        together = joint(models)
        judged = np.flatnonzero(given.speaks & together.any(axis=1))
        # cleanlab wants every class among the labels; of one nobody has, it can say nothing
        there = sorted(set(given.said[judged].tolist()))
        if len(there) > 1:
            issues = find_label_issues(
                np.searchsorted(there, given.said[judged]),
                normalised(together[np.ix_(judged, there)] + np.finfo("float64").tiny),
                filter_by=self._options.filter_by,
                n_jobs=1,
            )
            believed[judged[issues]] = together[judged[issues]]
        unlabelled = ~given.speaks
        believed[unlabelled] = together[unlabelled]
        return believed
