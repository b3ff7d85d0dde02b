"""Read the predictions of an evaluation, and select its test clips."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecmf.data.manifest import Clip
from ecmf.data.prediction_table import PREDICTED, PROBABILITY, WEIGHT, Row, read_predictions
from ecmf.data.splits import Indices, positions_tested
from ecmf.errors import CorpusError
from ecmf.metrics import Labels

REMEDY = "run `dvc repro evaluate_fusion`"


@dataclass(frozen=True)
class Results:
    """The predictions of all clips in manifest order, and the positions of the test clips.

    Attributes:
        clips: The clips of the manifest.
        classes: The classes, in the order of the probabilities.
        predicted: Index of the predicted class, (clips,); -1 where there is no prediction.
        probs: Class probabilities, (clips, classes); NaN where there is no prediction.
        weights: Weight of each source, (clips, sources); NaN where unknown.
        sources: Names of the sources that the models read.
        test: Positions of the clips that the score is of.
    """

    clips: Sequence[Clip]
    classes: Sequence[str]
    predicted: Labels
    probs: NDArray[np.float64]
    weights: NDArray[np.float64]
    sources: Sequence[str]
    test: Indices

    @property
    def truth(self) -> Labels:
        """Index of the class of each test clip by the manifest, (test,)."""
        return np.array([self.classes.index(self.clips[i].label) for i in self.test], "int64")

    @property
    def groups(self) -> list[str]:
        """Group of each test clip."""
        return [self.clips[i].group for i in self.test]


def read_results(path: Path, clips: Sequence[Clip], classes: Sequence[str]) -> Results:
    """Read `metrics/predictions.csv`.

    Raises:
        MissingFileError: there is no such file.
        CorpusError: it lacks a column, or has other clips or other classes than the manifest.
    """
    rows = read_predictions(path)
    columns = list(rows[0]) if rows else []
    if [row["clip_id"] for row in rows] != [clip.clip_id for clip in clips]:
        raise CorpusError(f"{path} does not have the {len(clips)} clips of the manifest: {REMEDY}")
    found = [name.removeprefix(PROBABILITY) for name in columns if name.startswith(PROBABILITY)]
    if found != list(classes):
        raise CorpusError(f"{path}: classes {', '.join(found)}, not {', '.join(classes)}: {REMEDY}")
    sources = [name.removeprefix(WEIGHT) for name in columns if name.startswith(WEIGHT)]
    number = {name: index for index, name in enumerate(classes)}
    return Results(
        clips,
        classes,
        np.array([number.get(row[PREDICTED], -1) for row in rows], "int64"),
        _numbers(rows, [f"{PROBABILITY}{name}" for name in classes]),
        _numbers(rows, [f"{WEIGHT}{name}" for name in sources]),
        sources,
        positions_tested(clips, [clip.label for clip in clips]),
    )


def _numbers(rows: Sequence[Row], columns: Sequence[str]) -> NDArray[np.float64]:
    cells = [[float(row[name] or "nan") for name in columns] for row in rows]
    return np.array(cells, "float64").reshape(len(rows), len(columns))
