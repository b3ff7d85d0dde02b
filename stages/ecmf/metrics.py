"""Classification metrics of predictions, with bootstrap intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

Labels = NDArray[np.int64]
"""Class indices, (clips,)."""

INTERVAL = (2.5, 97.5)
"""Percentiles that bound a 95 % interval."""


def weighted_f1(truth: Labels, predicted: Labels) -> float:
    """Compute WAF, the metric of MER2025: the F1 of each class, weighted by its true frequency."""
    return float(f1_score(truth, predicted, average="weighted", zero_division=0))


def compute_metrics(
    truth: Labels, predicted: Labels, classes: Sequence[str], resamplings: int, seed: int
) -> dict[str, Any]:
    """Compute all metrics of one split, as a JSON object.

    `waf_low` and `waf_high` bound the 95 % interval of the WAF (percentile bootstrap): the variance
    from sampling clips, not speakers. Averages leave out classes without a clip.
    """
    present = sorted(set(truth.tolist()))
    low, high = np.percentile(
        bootstrap_waf(truth, predicted, len(classes), resamplings, seed), INTERVAL
    )
    per_class = f1_score(
        truth, predicted, labels=range(len(classes)), average=None, zero_division=0
    )
    average: dict[str, Any] = {"labels": present, "average": "macro", "zero_division": 0}
    return {
        "waf": weighted_f1(truth, predicted),
        "waf_low": float(low),
        "waf_high": float(high),
        "accuracy": float(accuracy_score(truth, predicted)),
        "uar": float(recall_score(truth, predicted, **average)),
        "macro_f1": float(f1_score(truth, predicted, **average)),
        "f1": {name: float(value) for name, value in zip(classes, per_class, strict=True)},
        "clips": len(truth),
    }


def bootstrap_waf(
    truth: Labels, predicted: Labels, classes: int, resamplings: int, seed: int
) -> NDArray[np.float64]:
    """Compute the WAF of `resamplings` draws of the clips with replacement, (resamplings,).

    Drawing clips equals drawing cells of the confusion matrix in proportion to their counts.
    """
    cells = confusion_matrix(truth, predicted, labels=range(classes))
    draws = np.random.default_rng(seed).multinomial(
        len(truth), cells.ravel() / len(truth), size=resamplings
    )
    return waf_of_confusion(draws.reshape(resamplings, classes, classes))


def waf_of_confusion(cells: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute the WAF (…) of confusion matrices (…, truth, predicted)."""
    hits = np.diagonal(cells, axis1=-2, axis2=-1).astype("float64")
    support, predicted = cells.sum(axis=-1), cells.sum(axis=-2)
    f1 = 2 * hits / np.maximum(support + predicted, 1)
    return np.asarray((f1 * support).sum(axis=-1) / support.sum(axis=-1))
