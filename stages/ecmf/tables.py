"""What the models said, clip by clip and class by class, for people and for `dvc plots`."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from ecmf.files import replacing, write_text
from ecmf.manifest import Clip

DARK = 0.5
"""Share of a row from which its cell is dark enough for white figures."""


def write_predictions(
    clips: Sequence[Clip],
    classes: Sequence[str],
    sources: Sequence[str],
    probabilities: NDArray[np.float64],
    weights: NDArray[np.float64],
    path: Path,
) -> None:
    """Write per clip the prediction, its probabilities, and how much each source counted.

    A clip that no model may speak of, or a model that does not weigh, leaves its cells empty.
    """
    rows = [
        [
            "clip_id",
            "split",
            "label",
            "predicted",
            *(f"probability_{name}" for name in classes),
            *(f"weight_{name}" for name in sources),
        ]
    ]
    for clip, shares, weighed in zip(clips, probabilities, weights, strict=True):
        predicted = "" if np.isnan(shares).any() else classes[int(shares.argmax())]
        rows.append(
            [clip.clip_id, clip.split, clip.label, predicted, *_cells(shares), *_cells(weighed)]
        )
    _write(rows, path)


def write_confusion(truth: Sequence[str], predicted: Sequence[str], path: Path) -> None:
    """Write one line per tested clip, as the confusion template of `dvc plots` reads it.

    The lines are sorted: they count how often each class was taken for which, and tell no clip's
    label. Git keeps this file, also of a corpus whose labels may not be passed on.
    """
    lines = sorted(zip(truth, predicted, strict=True))
    _write([["actual", "predicted"], *map(list, lines)], path)


def draw_confusion(
    truth: Sequence[str], predicted: Sequence[str], classes: Sequence[str], path: Path
) -> None:
    """Draw clips per true (row) and predicted (column) class; shades are shares of the row."""
    cells = confusion_matrix(truth, predicted, labels=list(classes))
    shares = cells / np.maximum(cells.sum(axis=1, keepdims=True), 1)
    figure = Figure(
        figsize=(1.6 + 0.75 * len(classes), 1.2 + 0.7 * len(classes)), layout="constrained"
    )
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"{len(truth)} test clips")
    for (row, column), count in np.ndenumerate(cells):
        colour = "white" if shares[row, column] > DARK else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour)
    with replacing(path) as part:
        # The version of the drawing library would else stand in the file.
        figure.savefig(part, format="png", metadata={"Software": None})


def _cells(numbers: NDArray[np.float64]) -> list[str]:
    return ["" if np.isnan(number) else f"{number:.6f}" for number in numbers]


def _write(rows: Sequence[Sequence[str]], path: Path) -> None:
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(rows)
    write_text(path, table.getvalue())
