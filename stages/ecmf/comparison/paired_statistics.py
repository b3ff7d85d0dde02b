"""Compare predictions of the same clips: paired bootstrap, McNemar's test, Holm's correction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ecmf.metrics import (
    INTERVAL,
    Labels,
    count_by_group,
    f1_of_confusion,
    resample_groups,
    scores_of_confusion,
)

RESAMPLINGS = 10_000
"""Draws of the groups; the smallest p-value is then 0.0002."""

SEED = 0
LEVEL = 0.05
"""Significance level, that of a 95 % interval."""


@dataclass(frozen=True)
class Difference:
    """A score of a baseline and of another prediction, and the latter minus the former.

    `low` and `high` bound the 95 % interval of the difference; `p` is its two-sided p-value.
    """

    baseline: float
    other: float
    difference: float
    low: float
    high: float
    p: float

    @property
    def sign(self) -> int:
        """1 or -1 if the interval is above or below 0, and 0 if it contains 0."""
        return int(self.low > 0) - int(self.high < 0)


@dataclass(frozen=True)
class McNemar:
    """Clips that only the other prediction decides right, that only the baseline does, and p."""

    gained: int
    lost: int
    p: float


def paired_differences(
    truth: Labels,
    baseline: Labels,
    others: Sequence[Labels],
    groups: Sequence[str],
    classes: Sequence[str],
    resamplings: int = RESAMPLINGS,
) -> list[tuple[dict[str, Difference], dict[str, Difference]]]:
    """Compare each of `others` with the baseline: all scores, and the F1 of each class.

    Each draw of the groups (speakers or dialogues) is scored for all predictions, so that what
    makes a group hard cancels out of the difference (paired percentile bootstrap; Efron and
    Tibshirani 1993, sections 8 and 13).

    Args:
        truth: True class of each clip, (clips,).
        baseline: Class predicted by the baseline, (clips,).
        others: Classes predicted by each of the others, (clips,) each.
        groups: Group of each clip; "" is a group of its own.
        classes: Names of the classes.
        resamplings: Number of draws.
    """
    counted = [count_by_group(truth, each, groups, len(classes)) for each in (baseline, *others)]
    cells = np.stack(counted, axis=1)
    names = scores_of_confusion(cells.sum(axis=0)).keys()
    values = _scores(cells.sum(axis=0), classes)
    blocks = [_scores(drawn, classes) for drawn in resample_groups(cells, resamplings, SEED)]
    draws = {name: np.concatenate([block[name] for block in blocks]) for name in values}
    return [
        (
            {name: _difference(values[name], draws[name], i) for name in names},
            {name: _difference(values[f"f1/{name}"], draws[f"f1/{name}"], i) for name in classes},
        )
        for i in range(1, len(counted))
    ]


def _scores(
    cells: NDArray[np.float64], classes: Sequence[str]
) -> Mapping[str, NDArray[np.float64]]:
    """Compute each score, and the F1 of each class as `f1/<class>`, (…), of confusion matrices."""
    f1 = f1_of_confusion(cells)
    by_class = {f"f1/{name}": f1[..., number] for number, name in enumerate(classes)}
    return {**scores_of_confusion(cells), **by_class}


def _difference(values: NDArray[np.float64], draws: NDArray[np.float64], other: int) -> Difference:
    """Compare column `other` of scores (predictions,) and of their draws (draws, predictions)."""
    differences = draws[:, other] - draws[:, 0]
    low, high = np.percentile(differences, INTERVAL)
    return Difference(
        baseline=float(values[0]),
        other=float(values[other]),
        difference=float(values[other] - values[0]),
        low=float(low),
        high=float(high),
        p=bootstrap_p(differences),
    )


def bootstrap_p(differences: NDArray[np.float64]) -> float:
    """Return the two-sided p-value of resampled differences: twice the smaller tail beyond 0.

    The observed sample counts as one more draw, so that p is never 0 (Davison and Hinkley 1997,
    section 4.2.5). p below 0.05 and a 95 % percentile interval without 0 are the same statement,
    but for this one draw.
    """
    tail = min((differences <= 0).sum(), (differences >= 0).sum())
    return float(min(1.0, 2 * (tail + 1) / (len(differences) + 1)))


def mcnemar(truth: Labels, baseline: Labels, other: Labels) -> McNemar:
    """Test whether both predictions are right equally often, exactly (McNemar 1947).

    Of the clips that one of both decides right, each is as likely to be either's. Clips count as
    independent, also those of one group.
    """
    gained = int(((other == truth) & (baseline != truth)).sum())
    lost = int(((other != truth) & (baseline == truth)).sum())
    changed = gained + lost
    p = float(stats.binomtest(gained, changed).pvalue) if changed else 1.0
    return McNemar(gained, lost, p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for the number of comparisons (Holm 1979), in the same order."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected
