"""Read a database in audformat (`db.yaml` and its tables) with its media files (`audformat`, MIT).

A column of a table is a tier (`data/annotation.py`), named `<table>.<column>` or `<column>` in
`tiers.csv`. Without that file, columns whose scheme lists labels are votes: of the column's rater,
or the label itself if the rater is a ground truth or a vote. Columns of a rater that is a machine
are not read. A table's split is that of its labelled clips.

Tables are read from csv and parquet alone, and the header with PyYAML's safe loader: `audformat`
would run code that a pickle of a table or a tag of the header names.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import yaml

from ecmf.data.annotated_clips import clips_of, to_clips
from ecmf.data.annotation import FILLED, OWN, Mark, Recording, clip_name, library, read_tiers
from ecmf.data.label_proposals import Proposal
from ecmf.data.manifest import Clip
from ecmf.data.media_search import MediaSearch, classify
from ecmf.errors import CorpusError

HEADER = "db.yaml"
SPLITS = {"train": "train", "dev": "val", "test": "test"}
TRUE_RATERS = ("ground truth", "vote")


class Corpus:
    """A corpus whose classes are the labels in its tables."""

    classes: ClassVar[tuple[str, ...]] = ()
    gated: ClassVar[bool] = False

    def clips(self, folder: Path) -> list[Clip]:
        """Return the clips by media file, in the order of the tables, and time.

        Raises:
            CorpusError: there is no `db.yaml`, the database is malformed or has pickles, or as
                `to_clips`.
            MissingFileError: the package `audformat` is absent.
        """
        recordings, _ = _recordings(folder, _load(folder), read_tiers(folder))
        return to_clips(folder, recordings)

    def write_labels(self, folder: Path, out: Path, proposals: Mapping[str, Proposal]) -> int:
        """Write a copy of the database with a table `ecmf`; return its number of clips.

        It has the columns `label`, `confidence` and `note`, of a rater that is a machine. Media
        files are not copied.
        """
        package, tiers = library("audformat"), read_tiers(folder)
        database = _load(folder)
        recordings, names = _recordings(folder, database, tiers)
        if OWN in database.tables:
            del database.tables[OWN]
        rows = []
        for recording in recordings:
            for clip in clips_of(recording, tiers)[0]:
                if clip.clip_id in proposals:
                    end = f"{clip.end}s" if clip.end else "NaT"
                    start = f"{clip.start or 0}s"
                    rows.append((names[recording.name], start, end, proposals[clip.clip_id]))
        database.raters[OWN] = package.Rater("machine", description="refined labels of ecmf")
        labels = sorted({proposal.label for *_, proposal in rows})
        database.schemes[OWN] = package.Scheme("str", labels=labels)
        files, starts, ends, proposed = zip(*rows, strict=True) if rows else ((), (), (), ())
        table = package.Table(package.segmented_index(files, starts, ends))
        database[OWN] = table
        for column, scheme in (("label", OWN), ("confidence", None), ("note", None)):
            table[column] = package.Column(scheme_id=scheme, rater_id=OWN)
            table[column].set([getattr(proposal, column) for proposal in proposed])
        database.save(str(out), storage_format="csv")
        return len(rows)


def _load(folder: Path) -> Any:
    """Read the header and all tables."""
    path = folder / HEADER
    if not path.is_file():
        raise CorpusError(f"{folder} has no {HEADER}: name the folder of an audformat database")
    package, errors = library("audformat"), []
    try:
        header = yaml.safe_load(path.read_text(encoding="utf-8"))
        names = [*(header.get("misc_tables") or {}), *(header.get("tables") or {})]
        for name in names:
            if not isinstance(name, str) or {"/", "\\", "\0"} & set(name):
                errors.append(f"table {name!r} has no name of a file")
            elif (folder / f"db.{name}.pkl").exists():
                errors.append(
                    f"db.{name}.pkl is a pickle, which may run any code: save the database with "
                    'storage_format="csv" or "parquet" and delete the pickle'
                )
        if errors:
            raise CorpusError(f"{folder}: " + "; ".join(errors))
        database = package.Database.load_header_from_yaml(header)
        for name in names:
            database[name].load(str(folder / f"db.{name}"))
    except (
        yaml.YAMLError, package.errors.BadValueError, package.errors.BadIdError, AttributeError,
        LookupError, OSError, RuntimeError, TypeError, ValueError,
    ) as error:  # fmt: skip
        raise CorpusError(
            f"{folder} is no database that audformat reads ({type(error).__name__}: {error})"
        ) from error
    return database


def _recordings(
    folder: Path, database: Any, tiers: Mapping[str, Any] | None
) -> tuple[list[Recording], dict[str, str]]:
    """Return the recordings, and the file of each by name as the database has it."""
    search, marks = MediaSearch(folder), dict[str, list[Mark]]()
    for table_id, table in database.tables.items():
        for file, mark in _marks(database, table_id, table, tiers):
            marks.setdefault(file, []).append(mark)
    recordings, names = [], {}
    for file, own in marks.items():
        found = search.find(file, Path())
        media = classify(iter([found]))
        if media is None:
            raise CorpusError(f"{folder}: {file!r} has no suffix of a video or sound: rename it")
        recordings.append(Recording(clip_name(Path(found)), media, own))
        names[recordings[-1].name] = file
    return recordings, names


def _marks(
    database: Any, table_id: str, table: Any, tiers: Mapping[str, Any] | None
) -> Iterator[tuple[str, Mark]]:
    split_id = table.split_id
    split = SPLITS.get(database.splits[split_id].type, "") if split_id else ""
    for column_id, column in table.columns.items():
        rater = database.raters[column.rater_id].type if column.rater_id else ""
        scheme = database.schemes[column.scheme_id] if column.scheme_id else None
        is_vote = bool(scheme is not None and scheme.labels)
        full = f"{table_id}.{column_id}"
        tier = full if tiers is not None and full in tiers else column_id
        is_known = tier in tiers if tiers is not None else is_vote or column_id in FILLED
        if rater == "machine" or not is_known:
            continue
        for key, value in column.get().dropna().items():
            file, start, end = key if isinstance(key, tuple) else (key, None, None)
            mark = Mark(
                tier,
                str(value).strip(),
                0.0 if start is None else start.total_seconds(),
                None if end is None or end != end else end.total_seconds(),
                annotator=column.rater_id or "",
                column="label" if is_vote and rater in TRUE_RATERS else "",
            )
            yield file, mark
            if split and is_vote:
                yield file, Mark("", split, mark.start, mark.end, column="split")
