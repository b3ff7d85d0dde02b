"""What the models said, clip by clip and class by class, for people and for `dvc plots`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from ecmf.data.manifest import Clip
from ecmf.storage.files import replacing, write_table

PREDICTED, SOURCES = "predicted", "sources"
"""Columns of `metrics/predictions.csv` that are read again."""

DARK = 0.5
"""Share of a row from which its cell is dark enough for white figures."""


@dataclass(frozen=True)
class Prediction:
    """What is written of every clip, in manifest order.

    `probabilities` (clips, classes) and `weights` (clips, sources) are NaN where no model may speak
    of the clip or none weighs, `valence` (clips,) where none tells it; `present` (clips, sources)
    says which clip has which source.
    """

    probabilities: NDArray[np.float64]
    weights: NDArray[np.float64]
    valence: NDArray[np.float64]
    present: NDArray[np.bool_]


def write_predictions(
    clips: Sequence[Clip],
    classes: Sequence[str],
    sources: Sequence[str],
    prediction: Prediction,
    path: Path,
) -> None:
    """Write per clip the prediction, its probabilities, and how much each source counted.

    What is not known leaves its cells empty, as are all weights of an ensemble of several members;
    without any valence there is no column of it. Column `sources` counts those the clip has: the
    prediction for a clip without any is the same for all. A source that only teaches is none of
    them. Of a pseudo-labelled clip (`added` in `data/labels.csv`) the models say what they were
    taught.
    """
    tells = not np.isnan(prediction.valence).all()
    rows = [
        [
            "clip_id",
            "split",
            "label",
            PREDICTED,
            *(f"probability_{name}" for name in classes),
            *(f"weight_{name}" for name in sources),
            SOURCES,
            *(["valence"] if tells else []),
        ]
    ]
    for number, clip in enumerate(clips):
        shares = prediction.probabilities[number]
        rows.append(
            [
                clip.clip_id,
                clip.split,
                clip.label,
                "" if np.isnan(shares).any() else classes[int(shares.argmax())],
                *_cells(shares),
                *_cells(prediction.weights[number]),
                str(prediction.present[number].sum()),
                *(_cells(prediction.valence[[number]]) if tells else []),
            ]
        )
    write_table(path, rows)


def write_confusion(truth: Sequence[str], predicted: Sequence[str], path: Path) -> None:
    """Write one line per tested clip, as the confusion template of `dvc plots` reads it.

    The lines are sorted: they count how often each class was taken for which, and tell no clip's
    label. Git keeps this file, also of a corpus whose labels may not be passed on.
    """
    lines = sorted(zip(truth, predicted, strict=True))
    write_table(path, [["actual", "predicted"], *lines])


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
