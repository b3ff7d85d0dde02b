"""Read and write the votes of every source: `data/votes.csv` and `data/sources.json`.

The csv has one line per clip and source with a vote, with a probability per class. The JSON
describes the sources and the rounds of self-training.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecmf.errors import MissingFileError
from ecmf.refinement.base import SourceVotes
from ecmf.storage.csv_rows import read_written
from ecmf.storage.files import write_csv, write_json

COLUMNS = ["clip_id", "source", "kind", "said"]
PREFIX = "probability_"


@dataclass(frozen=True)
class VoteTable:
    """The votes of each source on `clip_ids`, in their order, and the rounds of self-training."""

    clip_ids: list[str]
    sources: dict[str, SourceVotes]
    rounds: list[dict[str, Any]]


def write_votes(table: VoteTable, classes: Sequence[str], votes: Path, sources: Path) -> None:
    """Write the csv and the JSON."""
    lines = [[*COLUMNS, *(f"{PREFIX}{name}" for name in classes)]]
    for row, clip_id in enumerate(table.clip_ids):
        for name, source in table.sources.items():
            if source.has_vote[row]:
                probs = (format(probability, ".9g") for probability in source.probs[row])
                lines.append([clip_id, name, source.kind, classes[source.top_class[row]], *probs])
    write_csv(votes, lines)
    content = {
        "classes": list(classes),
        "clips": table.clip_ids,
        "sources": {
            name: {"kind": source.kind, **source.provenance}
            for name, source in table.sources.items()
        },
        "rounds": table.rounds,
    }
    write_json(sources, content, indent=1)


def read_votes(votes: Path, sources: Path) -> VoteTable:
    """Read both files; raises MissingFileError if one is missing."""
    for path in (votes, sources):
        if not path.is_file():
            raise MissingFileError(f"no votes {path}: run `dvc repro refine_labels`")
    content = json.loads(sources.read_text(encoding="utf-8"))
    classes, clip_ids = content["classes"], content["clips"]
    row_of = {clip_id: row for row, clip_id in enumerate(clip_ids)}
    probs = {name: np.zeros((len(clip_ids), len(classes))) for name in content["sources"]}
    for line in read_written(votes):
        cells = [float(line[f"{PREFIX}{name}"]) for name in classes]
        probs[line["source"]][row_of[line["clip_id"]]] = cells
    table = {
        name: SourceVotes(about.pop("kind"), probs[name], about)
        for name, about in content["sources"].items()
    }
    return VoteTable(clip_ids, table, content["rounds"])
