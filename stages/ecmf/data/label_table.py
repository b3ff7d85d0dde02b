"""Read and write the refined label of each clip and its reason: `data/labels.csv`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ecmf.errors import CorpusError, MissingFileError
from ecmf.storage.csv_rows import read_written
from ecmf.storage.files import write_csv

SOFT_PREFIX = "soft_"
COLUMNS = ["clip_id", "label", "weight", "decision", "reason", "sources"]


@dataclass(frozen=True)
class Label:
    """One row of the table.

    `soft` holds a probability per class, in the corpus's order; zeros for a clip without a label.
    `weight` is the clip's weight in training; 0 excludes it. `decision` is the action taken on the
    manifest's label (or the split of a clip without one), and `reason` its reason. `sources` lists
    the class voted by each label source, as `name=class` separated by `; `.
    """

    clip_id: str
    label: str
    soft: tuple[float, ...]
    weight: float
    decision: str
    reason: str = ""
    sources: str = ""


def hard_label(clip_id: str, label: str, classes: Sequence[str], decision: str) -> Label:
    """Return a row with a one-hot label of weight 1; an empty label has weight 0."""
    soft = tuple(float(name == label) for name in classes)
    return Label(clip_id, label, soft, float(bool(label)), decision)


def write_labels(labels: Sequence[Label], classes: Sequence[str], path: Path) -> None:
    """Write the table, with one column `soft_<class>` per class."""
    rows = [[*COLUMNS[:2], *(SOFT_PREFIX + name for name in classes), *COLUMNS[2:]]]
    for label in labels:
        soft = (format(probability, ".6g") for probability in label.soft)
        weight = format(label.weight, ".6g")
        explanation = [label.decision, label.reason, label.sources]
        rows.append([label.clip_id, label.label, *soft, weight, *explanation])
    write_csv(path, rows)


def read_labels(path: Path, clip_ids: Sequence[str], classes: Sequence[str]) -> list[Label]:
    """Read the table.

    Raises:
        MissingFileError: there is no such file.
        CorpusError: the table has other clips or other classes.
    """
    if not path.is_file():
        raise MissingFileError(f"no labels {path}: run `dvc repro refine_labels`")
    rows = read_written(path, COLUMNS)
    columns = tuple(
        name.removeprefix(SOFT_PREFIX) for name in (rows or [{}])[0] if name.startswith(SOFT_PREFIX)
    )
    if columns != tuple(classes):
        raise CorpusError(
            f"{path}: classes {', '.join(columns)}, not {', '.join(classes)}: run `dvc repro`"
        )
    labels = [
        Label(
            row["clip_id"],
            row["label"],
            tuple(float(row[SOFT_PREFIX + name]) for name in classes),
            float(row["weight"]),
            row["decision"],
            row["reason"],
            row["sources"],
        )
        for row in rows
    ]
    if [label.clip_id for label in labels] != list(clip_ids):
        raise CorpusError(
            f"{path} does not have the {len(clip_ids)} clips of the manifest in its order: "
            "run `dvc repro`"
        )
    return labels
