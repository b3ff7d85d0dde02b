"""What every source said of every clip it was asked about: `data/votes.csv`, `data/sources.json`.

The table has a line per clip and source that has an opinion, with its probability of each class;
the other file says what the sources are, and how self-training went.
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecmf.errors import MissingFileError
from ecmf.refinement.base import Opinion
from ecmf.storage.files import write_table, write_text

COLUMNS = ["clip_id", "source", "kind", "said"]
PREFIX = "probability_"


@dataclass(frozen=True)
class Votes:
    """The opinions on the clips `clip_ids`, in their order, and the rounds of self-training."""

    clip_ids: list[str]
    opinions: dict[str, Opinion]
    rounds: list[dict[str, Any]]


def write_votes(votes: Votes, classes: Sequence[str], table: Path, about: Path) -> None:
    """Write both files."""
    lines = [[*COLUMNS, *(f"{PREFIX}{name}" for name in classes)]]
    for row, clip_id in enumerate(votes.clip_ids):
        for name, one in votes.opinions.items():
            if one.speaks[row]:
                shares = (format(share, ".9g") for share in one.shares[row])
                lines.append([clip_id, name, one.kind, classes[one.said[row]], *shares])
    write_table(table, lines)
    sources = {name: {"kind": one.kind, **one.provenance} for name, one in votes.opinions.items()}
    content = {
        "classes": list(classes),
        "clips": votes.clip_ids,
        "sources": sources,
        "rounds": votes.rounds,
    }
    write_text(about, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_votes(table: Path, about: Path) -> Votes:
    """Read what `write_votes` wrote; raises MissingFileError where that is not there."""
    for path in (table, about):
        if not path.is_file():
            raise MissingFileError(f"no votes {path}: `dvc repro refine_labels` makes them")
    content = json.loads(about.read_text(encoding="utf-8"))
    classes, clip_ids = content["classes"], content["clips"]
    row_of = {clip_id: row for row, clip_id in enumerate(clip_ids)}
    shares = {name: np.zeros((len(clip_ids), len(classes))) for name in content["sources"]}
    with table.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            said = [float(line[f"{PREFIX}{name}"]) for name in classes]
            shares[line["source"]][row_of[line["clip_id"]]] = said
    opinions = {}
    for name, source in content["sources"].items():
        kind = source.pop("kind")
        opinions[name] = Opinion(kind, shares[name], source)
    return Votes(clip_ids, opinions, content["rounds"])
