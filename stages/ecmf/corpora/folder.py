"""Read any folder with a `clips.csv`: one row per clip, with paths relative to the folder.

Columns: clip_id, one or more of video, audio and transcript, and optionally language, speaker,
group, dialogue, split, label, valence, start, end and one `annotator_<name>` per annotator. A clip
with `start` or `end` (seconds) is that piece of its files. The default group is the speaker, or
else the file of a piece, or else the clip itself; the default split is train, or unlabelled without
a label.
Other columns are not read, with a warning.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from ecmf import registry
from ecmf.data.label_spelling import spelling_errors
from ecmf.data.manifest import ANNOTATOR_PREFIX, COLUMNS, Clip, raise_errors
from ecmf.errors import MissingFileError
from ecmf.storage.csv_cells import is_number
from ecmf.storage.csv_rows import read_csv

log = logging.getLogger(__name__)

TABLE = "clips.csv"
KNOWN_COLUMNS = [column for column in COLUMNS if column != "sha256"]
CONTENT_COLUMNS = ("video", "audio", "transcript")
"""Columns of which at least one is required."""


class Corpus:
    """A corpus whose classes are the labels in its table."""

    classes: ClassVar[tuple[str, ...]] = ()
    gated: ClassVar[bool] = False

    def clips(self, folder: Path) -> Iterator[Clip]:
        """Yield the clips in the order of `clips.csv`.

        Raises:
            MissingFileError: there is no `clips.csv`.
            CorpusError: it is not csv as `read_csv` takes it, a column is missing, a valence is
                not a number, or two labels differ only in case.
        """
        table = folder / TABLE
        if not table.is_file():
            raise MissingFileError(
                f"no {TABLE} in {folder}: list the clips there, with the columns clip_id, one "
                f"of {', '.join(CONTENT_COLUMNS)}, and any of {', '.join(KNOWN_COLUMNS[4:])}, "
                f"{ANNOTATOR_PREFIX}<name>"
            )
        rows = read_csv(table, _header_errors)
        raise_errors(table, _row_errors(rows))
        yield from map(_clip, rows)


def _header_errors(header: Sequence[str]) -> list[str]:
    errors = []
    if "clip_id" not in header:
        errors.append("no column clip_id")
    if not set(CONTENT_COLUMNS) & set(header):
        errors.append(f"no column {', '.join(CONTENT_COLUMNS[:-1])} or {CONTENT_COLUMNS[-1]}")
    if "clip_id" in header and (further := [name for name in header if not _is_known(name)]):
        log.warning(
            "columns that are not read: %s",
            "; ".join(f"{name!r}{registry.did_you_mean(name, KNOWN_COLUMNS)}" for name in further),
        )
    return errors


def _is_known(column: str) -> bool:
    return column in KNOWN_COLUMNS or column.startswith(ANNOTATOR_PREFIX)


def _row_errors(rows: list[dict[str, str]]) -> list[str]:
    errors = list(spelling_errors((row["clip_id"], row.get("label", "")) for row in rows))
    for row in rows:
        clip_id, valence = row["clip_id"], row.get("valence", "")
        if valence and not is_number(valence):
            errors.append(f"clip {clip_id!r}: valence {valence!r} is not a number")
    return errors


def _clip(row: dict[str, str]) -> Clip:
    annotators = {name: label for name, label in row.items() if name.startswith(ANNOTATOR_PREFIX)}
    fields = {name: value for name, value in row.items() if name in KNOWN_COLUMNS}
    is_piece = fields.get("start") or fields.get("end")
    file = (fields.get("video") or fields.get("audio")) if is_piece else ""
    fields["group"] = fields.get("group") or fields.get("speaker") or file or fields["clip_id"]
    fields["split"] = fields.get("split") or ("train" if fields.get("label") else "unlabelled")
    return Clip(**fields, annotators=annotators)  # type: ignore[arg-type]
