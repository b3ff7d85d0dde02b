"""Read `metrics/predictions.csv`, the prediction of every clip in the order of the manifest."""

from pathlib import Path

from ecmf.errors import CorpusError, MissingFileError
from ecmf.storage.csv_rows import read_written

PREDICTED, SOURCES = "predicted", "sources"
PROBABILITY = "probability_"
"""Prefix of the column with the probability of a class."""

WEIGHT = "weight_"
"""Prefix of the column with the weight of a source."""

COLUMNS = ("clip_id", "split", PREDICTED, SOURCES)
"""Columns that every task writes; `evaluation.tables` has all."""

Row = dict[str, str]


def read_predictions(path: Path) -> list[Row]:
    """Read one row per clip.

    Raises:
        CorpusError: the file lacks a column.
        MissingFileError: there is no such file.
    """
    if not path.is_file():
        raise MissingFileError(f"no predictions {path}: run `dvc repro evaluate_fusion`")
    try:
        return read_written(path, COLUMNS)
    except CorpusError as error:
        raise CorpusError(
            f"{error}\nuse metrics/predictions.csv as written by `dvc repro evaluate_fusion`"
        ) from error
