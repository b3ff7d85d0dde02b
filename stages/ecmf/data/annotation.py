"""Define the marks that people set in a labelling tool, and the meaning of their tiers.

A mark is a value on a tier of a recording, from a start to an end. A tier with the name of a column
in `FILLED` fills that column of the clips it covers; every other tier holds the labels of an
annotator. `tiers.csv` in the corpus folder says otherwise: it has the columns `tier` and `column`
(one of `FILLED`, `annotator_<name>`, or empty), and optionally `speaker`; tiers that it does not
list are not read.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from ecmf import registry
from ecmf.data.manifest import ANNOTATOR_PREFIX, raise_errors
from ecmf.data.media_search import Media
from ecmf.errors import CorpusError, MissingFileError
from ecmf.storage.csv_rows import read_csv

TIERS = "tiers.csv"
FILLED = ("label", "transcript", "language", "speaker", "group", "dialogue", "split", "valence")
"""Columns of the manifest that a tier can fill."""

OWN = "ecmf"
"""Start of the names of tiers that `ecmf labels` writes, which are never read as labels."""


@dataclass(frozen=True)
class Mark:
    """A value on a tier, from `start` to `end` in seconds; without `end`, to the end of the file.

    `annotator` is the person who set it, in a tool that knows persons; else the tier stands for
    the annotator. `column`, if not empty, is the column that the tool tells; a mark without a tier
    has one.
    """

    tier: str
    value: str
    start: float = 0.0
    end: float | None = None
    speaker: str = ""
    annotator: str = ""
    column: str = ""


@dataclass(frozen=True)
class Recording:
    """The marks of a recording. `name` begins the ids of its clips; `offset` is added to times."""

    name: str
    media: Media
    marks: Sequence[Mark]
    offset: float = 0.0


class Tier(NamedTuple):
    """What a tier fills: a column of the manifest, and the speaker that it is of."""

    column: str
    speaker: str = ""


def library(name: str) -> Any:
    """Import a package of the extra `labels`; raises MissingFileError if it is absent."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise MissingFileError(
            f"no package {error.name}, which reads these annotations: pip install 'ecmf[labels]' "
            "(from the project: pip install '.[labels]')"
        ) from error


def annotation_files(folder: Path, suffix: str) -> list[Path]:
    """Return the visible files with a suffix below `folder`, sorted; raises CorpusError if none."""
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() == suffix.lower()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not paths:
        raise CorpusError(f"{folder} has no file *{suffix}: name the folder with the annotations")
    return paths


def clip_name(relative: Path) -> str:
    """Return the beginning of clip ids for a file, of all parts of its path."""
    return "_".join(relative.parts)


def read_tiers(folder: Path) -> dict[str, Tier] | None:
    """Read `tiers.csv`; return None if there is none.

    Raises:
        CorpusError: a column is missing or unknown, or a tier is listed twice.
    """
    path = folder / TIERS
    if not path.is_file():
        return None
    rows = read_csv(
        path, lambda header: [f"no column {n}" for n in ("tier", "column") if n not in header]
    )
    errors = [
        f"tier {row['tier']!r}: column {row['column']!r} is none of {', '.join(FILLED)}, "
        f"{ANNOTATOR_PREFIX}<name>.{registry.did_you_mean(row['column'], FILLED)}"
        for row in rows
        if row["column"] not in ("", *FILLED) and not row["column"].startswith(ANNOTATOR_PREFIX)
    ]
    counts = Counter(row["tier"] for row in rows)
    errors += [f"tier {tier!r} is listed twice" for tier in counts if counts[tier] > 1]
    raise_errors(path, errors)
    return {row["tier"]: Tier(row["column"], row.get("speaker", "")) for row in rows}
