"""Compute what the page's figures show, from the results and the reports of the stages."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import confusion_matrix

from ecmf.errors import MissingFileError
from ecmf.reporting.calibration import Bin, calibration_error, reliability
from ecmf.reporting.results import Results

LEVELS = 10
"""Shades of a table's cells above the lightest."""


class Cell(NamedTuple):
    """A cell of a shaded table: its text, and its shade from 0 to LEVELS."""

    text: str
    level: int


class Grid(NamedTuple):
    """A shaded table: names of its columns, and its rows as a name, cells and a closing text."""

    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell], str]]


class Curve(NamedTuple):
    """A curve over epochs: its values, bounds of its axis, and points of the drawing in percent."""

    name: str
    first: float
    last: float
    low: float
    high: float
    epochs: int
    points: Sequence[tuple[float, float]]


class Calibration(NamedTuple):
    """The bins of the reliability diagram, the expected calibration error, and mean values."""

    bins: Sequence[Bin]
    error: float
    confidence: float
    accuracy: float


def confusion_grid(results: Results) -> Grid:
    """Count the test clips per true (row) and predicted (column) class; shade by the row's share.

    The closing text of a row is the number of its clips.
    """
    truth, predicted = results.truth, results.predicted[results.test]
    cells = confusion_matrix(truth, predicted, labels=range(len(results.classes)))
    rows = []
    for name, counts in zip(results.classes, cells.tolist(), strict=True):
        total = sum(counts)
        shaded = [Cell(str(count), round(LEVELS * count / max(total, 1))) for count in counts]
        rows.append((name, shaded, str(total)))
    return Grid(results.classes, rows)


def weight_grid(results: Results) -> Grid | None:
    """Average the weight of each source over the test clips of each class; None without weights.

    The closing text of a row is the mean over all test clips. Shades are relative to the largest.
    """
    weights = results.weights[results.test]
    known = ~np.isnan(weights)
    if not known.any():
        return None
    truth = results.truth
    columns = [*(truth == number for number in range(len(results.classes))), truth >= 0]
    sums = np.array([np.where(known, weights, 0)[clips].sum(axis=0) for clips in columns])
    counts = np.array([known[clips].sum(axis=0) for clips in columns])
    means = np.where(counts, sums / np.maximum(counts, 1), np.nan).T
    largest = max(float(np.nanmax(means)), 1e-9)
    rows = []
    for name, (*of_class, overall) in zip(results.sources, means.tolist(), strict=True):
        cells = [
            Cell("", 0) if np.isnan(mean) else
            Cell(f"{mean:.2f}", round(LEVELS * max(mean, 0) / largest))
            for mean in of_class
        ]  # fmt: skip
        rows.append((name, cells, f"{overall:.2f}"))
    return Grid(results.classes, rows)


def calibration(results: Results) -> Calibration:
    """Compare the probabilities of the predicted test clips with how often they are right."""
    probs = results.probs[results.test]
    right = results.predicted[results.test] == results.truth
    known = ~np.isnan(probs).any(axis=1)
    confidence = probs[known].max(axis=1)
    bins = reliability(confidence, right[known])
    return Calibration(
        bins, calibration_error(bins), float(confidence.mean()), float(right[known].mean())
    )


def read_curves(path: Path, score_name: str) -> list[Curve]:
    """Read `metrics/training_curves.csv`; a curve without values is left out."""
    if not path.is_file():
        raise MissingFileError(f"no curves {path}: run `dvc repro train_fusion`")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = {"train_loss": "Training loss", "validation_score": f"Validation {score_name}"}
    curves = []
    for column, name in names.items():
        values = [(int(row["epoch"]), float(row[column])) for row in rows if row[column]]
        if values:
            curves.append(_curve(name, values))
    return curves


def _curve(name: str, values: Sequence[tuple[int, float]]) -> Curve:
    epochs, heights = zip(*values, strict=True)
    low, high = min(heights), max(heights)
    width, height = max(epochs[-1] - epochs[0], 1), (high - low) or 1
    points = [
        (round(100 * (epoch - epochs[0]) / width, 2), round(100 * (high - value) / height, 2))
        for epoch, value in values
    ]
    return Curve(name, heights[0], heights[-1], low, high, epochs[-1], points)


def symmetric_domain(values: Mapping[str, Mapping[str, float]]) -> float:
    """Return the largest distance from 0 of the differences and their bounds, rounded up."""
    largest = max((abs(v) for each in values.values() for v in each.values()), default=0)
    return max(0.02, float(np.ceil(largest * 50) / 50))


def coverage_rows(coverage: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the counts of each store, and the share of its clips in each state in percent."""
    states = ("whole", "flagged", "empty", "failed")
    return [
        {
            "name": name,
            "clips": counts["clips"],
            **{state: counts[state] for state in states},
            "shares": [(state, 100 * counts[state] / max(counts["clips"], 1)) for state in states],
        }
        for name, counts in coverage.items()
    ]
