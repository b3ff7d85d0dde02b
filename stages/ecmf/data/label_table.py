"""What each clip is to be taken for, and why: `data/labels.csv`."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ecmf.errors import CorpusError, MissingFileError
from ecmf.storage.files import write_table

SOFT_PREFIX = "soft_"
COLUMNS = ["clip_id", "label", "weight", "decision", "reason", "sources"]


@dataclass(frozen=True)
class Label:
    """One line of the table.

    `soft` is a probability per class, in the corpus's order; zeros for a clip without label.
    `weight` is how much the clip counts in training; 0 leaves it out. `decision` names what was
    done with the given label (or the split of a clip that has none), `reason` why, `sources` what
    every source said, as `name=class` separated by `; `.
    """

    clip_id: str
    label: str
    soft: tuple[float, ...]
    weight: float
    decision: str
    reason: str = ""
    sources: str = ""


def given_label(clip_id: str, label: str, classes: Sequence[str], decision: str) -> Label:
    """Take the label as it stands; an empty one weighs nothing."""
    soft = tuple(float(name == label) for name in classes)
    return Label(clip_id, label, soft, float(bool(label)), decision)


def write_labels(labels: Sequence[Label], classes: Sequence[str], path: Path) -> None:
    """Write the table with one column `soft_<class>` per class."""
    lines = [[*COLUMNS[:2], *(SOFT_PREFIX + name for name in classes), *COLUMNS[2:]]]
    for label in labels:
        soft = (format(share, ".6g") for share in label.soft)
        weight = format(label.weight, ".6g")
        said = [label.decision, label.reason, label.sources]
        lines.append([label.clip_id, label.label, *soft, weight, *said])
    write_table(path, lines)


def read_labels(path: Path, clip_ids: Sequence[str], classes: Sequence[str]) -> list[Label]:
    """Read the table.

    Raises:
        MissingFileError: there is none.
        CorpusError: it speaks of other clips or other classes.
    """
    if not path.is_file():
        raise MissingFileError(f"no labels {path}: `dvc repro` makes them")
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        found = tuple(
            name.removeprefix(SOFT_PREFIX)
            for name in reader.fieldnames or ()
            if name.startswith(SOFT_PREFIX)
        )
        if found != tuple(classes):
            raise CorpusError(
                f"{path} has the classes {', '.join(found)}, not {', '.join(classes)}"
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
            for row in reader
        ]
    if [label.clip_id for label in labels] != list(clip_ids):
        raise CorpusError(
            f"{path} does not hold the {len(clip_ids)} clips of the manifest in its order"
        )
    return labels
