"""Write the predictions of every clip, and the confusion matrix for `dvc plots`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from ecmf.data.manifest import Clip
from ecmf.storage.files import atomic_write, write_csv

PREDICTED, SOURCES = "predicted", "sources"
"""Columns of `metrics/predictions.csv` that `ecmf submit` reads."""

DARK = 0.5
"""Fraction of a row above which a cell is dark enough for white text."""


@dataclass(frozen=True)
class PredictionTable:
    """Predictions of every clip, in manifest order; NaN if there are none.

    Attributes:
        probabilities: (clips, classes).
        weights: Weight of each source, (clips, sources).
        valence: (clips,).
        present: Whether each clip has each source, (clips, sources).
    """

    probabilities: NDArray[np.float64]
    weights: NDArray[np.float64]
    valence: NDArray[np.float64]
    present: NDArray[np.bool_]


def write_predictions(
    clips: Sequence[Clip],
    classes: Sequence[str],
    sources: Sequence[str],
    prediction: PredictionTable,
    path: Path,
) -> None:
    """Write one row per clip: predicted class, class probabilities, and weight of each source.

    NaN is an empty cell; the column of the valence is absent if all are NaN. Column `sources` is
    the number of sources of a clip; all clips with 0 have the same prediction. A pseudo-labelled
    clip (`added` in `data/labels.csv`) is predicted by models trained on its pseudo-label.
    """
    has_valence = not np.isnan(prediction.valence).all()
    rows = [
        [
            "clip_id",
            "split",
            "label",
            PREDICTED,
            *(f"probability_{name}" for name in classes),
            *(f"weight_{name}" for name in sources),
            SOURCES,
            *(["valence"] if has_valence else []),
        ]
    ]
    for number, clip in enumerate(clips):
        probs = prediction.probabilities[number]
        rows.append(
            [
                clip.clip_id,
                clip.split,
                clip.label,
                "" if np.isnan(probs).any() else classes[int(probs.argmax())],
                *_cells(probs),
                *_cells(prediction.weights[number]),
                str(prediction.present[number].sum()),
                *(_cells(prediction.valence[[number]]) if has_valence else []),
            ]
        )
    write_csv(path, rows)


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


def _cells(numbers: NDArray[np.float64]) -> list[str]:
    return ["" if np.isnan(number) else f"{number:.6f}" for number in numbers]
