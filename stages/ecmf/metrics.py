"""Metrics of predicted classes, with bootstrap intervals, and of predicted valence."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, recall_score

Labels = NDArray[np.int64]
"""Class indices, (clips,)."""

INTERVAL = (2.5, 97.5)
"""Percentiles that bound a 95 % interval."""

SCORE_NAMES = {"waf": "WAF", "uar": "UAR", "macro_f1": "macro F1"}
"""Names of scores that are abbreviations; others are shown as they are named here."""

FEW_GROUPS = 8
"""Groups below which a percentile bootstrap over groups is a rough guide."""

DRAWS_PER_BLOCK = 100
"""Resamples held in memory at once."""

MSE_FACTOR = 0.25
"""Weight of the squared error of valence in the metric of MER2023-MULTI (arXiv 2304.08981)."""


def weighted_f1(truth: Labels, predicted: Labels) -> float:
    """Compute WAF, the metric of MER2025: the F1 of each class, weighted by its true frequency."""
    return float(f1_score(truth, predicted, average="weighted", zero_division=0))


def compute_metrics(
    truth: Labels,
    predicted: Labels,
    groups: Sequence[str],
    classes: Sequence[str],
    resamplings: int,
    seed: int,
) -> dict[str, Any]:
    """Compute all metrics of one split, as a JSON object.

    `waf_low` and `waf_high` bound the 95 % interval of the WAF (percentile bootstrap over the
    groups of the clips): the variance from sampling speakers or dialogues. Averages leave out
    classes without a clip.
    """
    present = sorted(set(truth.tolist()))
    low, high = np.percentile(
        bootstrap_waf(truth, predicted, groups, len(classes), resamplings, seed), INTERVAL
    )
    per_class = f1_score(
        truth, predicted, labels=range(len(classes)), average=None, zero_division=0
    )
    average: dict[str, Any] = {"labels": present, "average": "macro", "zero_division": 0}
    return {
        "waf": weighted_f1(truth, predicted),
        "waf_low": float(low),
        "waf_high": float(high),
        "macro_f1": float(f1_score(truth, predicted, **average)),
        "uar": float(recall_score(truth, predicted, **average)),
        "accuracy": float(accuracy_score(truth, predicted)),
        "f1": {name: float(value) for name, value in zip(classes, per_class, strict=True)},
        "clips": len(truth),
    }


def bootstrap_waf(
    truth: Labels,
    predicted: Labels,
    groups: Sequence[str],
    classes: int,
    resamplings: int,
    seed: int,
) -> NDArray[np.float64]:
    """Compute the WAF of `resamplings` draws of the groups with replacement, (resamplings,).

    Clips of one speaker or dialogue are alike, so drawing clips would give too narrow an interval.
    Drawing groups equals adding up their confusion matrices.
    """
    cells = count_by_group(truth, predicted, groups, classes)
    blocks = resample_groups(cells, resamplings, seed)
    return np.concatenate([waf_of_confusion(drawn) for drawn in blocks])


def count_by_group(
    truth: Labels, predicted: Labels, groups: Sequence[str], classes: int
) -> NDArray[np.float64]:
    """Count the clips of each group, by true and predicted class, (groups, classes, classes)."""
    number = group_numbers(groups)
    cells = np.zeros((number.max() + 1, classes, classes))
    np.add.at(cells, (number, truth, predicted), 1)
    return cells


def resample_groups(
    cells: NDArray[np.float64], resamplings: int, seed: int
) -> Iterator[NDArray[np.float64]]:
    """Draw groups of counts (groups, …) with replacement; yield blocks of sums (draws, …)."""
    rng = np.random.default_rng(seed)
    shares = np.full(len(cells), 1 / len(cells))
    for first in range(0, resamplings, DRAWS_PER_BLOCK):
        count = min(DRAWS_PER_BLOCK, resamplings - first)
        draws = rng.multinomial(len(cells), shares, size=count).astype("float64")
        yield np.tensordot(draws, cells, axes=1)


def group_numbers(groups: Sequence[str]) -> Labels:
    """Number the groups of the clips, (clips,); a clip without a group is a group of its own."""
    known = sorted({group for group in groups if group})
    number = {group: i for i, group in enumerate(known)}
    alone = iter(range(len(known), len(known) + len(groups)))
    return np.array([number[group] if group else next(alone) for group in groups], "int64")


def waf_of_confusion(cells: NDArray[Any]) -> NDArray[np.float64]:
    """Compute the WAF (…) of confusion matrices (…, truth, predicted)."""
    support = cells.sum(axis=-1)
    return np.asarray((f1_of_confusion(cells) * support).sum(axis=-1) / support.sum(axis=-1))


def f1_of_confusion(cells: NDArray[Any]) -> NDArray[np.float64]:
    """Compute the F1 of each class (…, classes) of confusion matrices (…, truth, predicted)."""
    hits = np.diagonal(cells, axis1=-2, axis2=-1).astype("float64")
    support, predicted = cells.sum(axis=-1), cells.sum(axis=-2)
    return np.asarray(2 * hits / np.maximum(support + predicted, 1))


def scores_of_confusion(cells: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Compute the scores (…) of confusion matrices (…, truth, predicted).

    They are those of `compute_metrics`, by the same names: averages leave out classes without a
    clip.
    """
    support = cells.sum(axis=-1)
    hits = np.diagonal(cells, axis1=-2, axis2=-1)
    present = support > 0
    return {
        "waf": waf_of_confusion(cells),
        "macro_f1": f1_of_confusion(cells).mean(axis=-1, where=present),
        "uar": (hits / np.maximum(support, 1)).mean(axis=-1, where=present),
        "accuracy": np.asarray(hits.sum(axis=-1) / support.sum(axis=-1)),
    }


def valence_scores(
    truth: NDArray[np.float32], predicted: NDArray[np.float64], waf: float
) -> dict[str, Any]:
    """Compute squared error and Pearson correlation of valence, (clips,) each, as a JSON object.

    Clips with NaN are left out; if none remain, the result is empty. The correlation is None if
    truth or prediction is constant. `mer2023_combined` is the metric of MER2023-MULTI, with the
    `waf` over all clips.
    """
    known = ~np.isnan(truth) & ~np.isnan(predicted)
    if not known.any():
        return {}
    truth_known, predicted_known = truth[known].astype("float64"), predicted[known]
    error = float(np.mean((truth_known - predicted_known) ** 2))
    varies = truth_known.std() > 0 and predicted_known.std() > 0
    return {
        "valence_clips": int(known.sum()),
        "valence_mse": error,
        "valence_r": float(np.corrcoef(truth_known, predicted_known)[0, 1]) if varies else None,
        "mer2023_combined": waf - MSE_FACTOR * error,
    }
