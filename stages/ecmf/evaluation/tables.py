"""Write the predictions of every clip, and the confusion matrix for `dvc plots`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix

from ecmf.data.manifest import Clip
from ecmf.data.prediction_table import PREDICTED, SOURCES, WEIGHT
from ecmf.evaluation.prediction import Predictor
from ecmf.storage.files import atomic_write, write_csv
from ecmf.training.task import Prediction, Values

DARK = 0.5
"""Fraction of a row above which a cell is dark enough for white text."""


def write_predictions(
    clips: Sequence[Clip], predictor: Predictor, prediction: Prediction, path: Path
) -> None:
    """Write one row per clip: decision, prediction for each output, and weight of each source.

    NaN is an empty cell; a dimension without any prediction has no column. Only the sources
    that a model reads have a column. Column `sources` is the number of them that a clip has; all
    clips with 0 have the same prediction. A pseudo-labelled clip (`added` in `data/labels.csv`) is
    predicted by models trained on its pseudo-label.
    """
    task, sources, read = predictor.task, predictor.sources, predictor.input_sources
    columns = [number for number, source in enumerate(sources) if source.name in read]
    present = np.stack([sources[number].present for number in columns]).sum(axis=0)
    dimensions = {
        name: values for name, values in prediction.dimensions.items() if not np.isnan(values).all()
    }
    rows = [
        [
            "clip_id",
            "split",
            "label",
            PREDICTED,
            *task.columns,
            *(f"{WEIGHT}{sources[number].name}" for number in columns),
            SOURCES,
            *dimensions,
        ]
    ]
    known = np.asarray(~np.isnan(prediction.outputs).any(axis=1))
    decisions = iter(task.decide(prediction.outputs[known]))
    for number, clip in enumerate(clips):
        rows.append(
            [
                clip.clip_id,
                clip.split,
                clip.label,
                next(decisions) if known[number] else "",
                *_cells(prediction.outputs[number]),
                *_cells(prediction.weights[number, columns]),
                str(present[number]),
                *_cells(np.array([values[number] for values in dimensions.values()])),
            ]
        )
    write_csv(path, rows)


def write_decisions(
    truth: Sequence[str],
    predicted: Sequence[str],
    possible: Sequence[str],
    table: Path,
    picture: Path,
) -> None:
    """Write the decisions on the test clips: a table for `dvc plots`, and the confusion matrix."""
    write_confusion(truth, predicted, table)
    draw_confusion(truth, predicted, possible, picture)


def write_confusion(truth: Sequence[str], predicted: Sequence[str], path: Path) -> None:
    """Write one row per test clip, for the confusion template of `dvc plots`.

    The rows are sorted, so that they reveal no clip's label: the file is tracked by git, also for a
    gated corpus.
    """
    rows = sorted(zip(truth, predicted, strict=True))
    write_csv(path, [["actual", "predicted"], *rows])


def draw_confusion(
    truth: Sequence[str], predicted: Sequence[str], classes: Sequence[str], path: Path
) -> None:
    """Draw the confusion matrix: clips per true (row) and predicted (column) class."""
    cells = confusion_matrix(truth, predicted, labels=list(classes))
    fractions = cells / np.maximum(cells.sum(axis=1, keepdims=True), 1)
    figure = Figure(
        figsize=(1.6 + 0.75 * len(classes), 1.2 + 0.7 * len(classes)), layout="constrained"
    )
    axes = figure.subplots()
    axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"{len(truth)} test clips")
    for (row, column), count in np.ndenumerate(cells):
        colour = "white" if fractions[row, column] > DARK else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour)
    with atomic_write(path) as part:
        # By default the file contains the version of matplotlib.
        figure.savefig(part, format="png", metadata={"Software": None})


def _cells(numbers: Values) -> list[str]:
    return ["" if np.isnan(number) else f"{number:.6f}" for number in numbers]
