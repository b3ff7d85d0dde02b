"""Any folder with a `clips.csv` in it: one line per clip, files named relative to the folder.

Columns: clip_id, one or more of video, audio and transcript, and as far as they are known language,
speaker, group, dialogue, split, label, valence and one `annotator_<name>` per annotator. A group
not given is the speaker, or else the clip itself; a split not given is train, or unlabelled where
there is no label.
"""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from ecmf import plugins
from ecmf.errors import CorpusError, MissingFileError
from ecmf.manifest import ANNOTATOR_PREFIX, COLUMNS, Clip

LIST = "clips.csv"
KNOWN = [column for column in COLUMNS if column != "sha256"]
SAYING = ("video", "audio", "transcript")
"""Columns of which a list needs one."""


class Corpus:
    """Clips listed by hand or by a script; the labels found are the classes."""

    classes: ClassVar[tuple[str, ...]] = ()
    gated: ClassVar[bool] = False

    def clips(self, folder: Path) -> Iterator[Clip]:
        """Yield the clips in the order of `clips.csv`.

        Raises:
            MissingFileError: there is no `clips.csv`.
            CorpusError: it is no UTF-8 csv, a column is unknown or missing, a line has too many or
                too few fields, a valence is no number, two labels differ in case only.
        """
        table = folder / LIST
        if not table.is_file():
            raise MissingFileError(
                f"no {LIST} in {folder}: list the clips there, with the columns clip_id, one "
                f"of {', '.join(SAYING)}, and any of {', '.join(KNOWN[4:])}, "
                f"{ANNOTATOR_PREFIX}<name>"
            )
        rows = read_rows(table, _header_faults)
        faults = _faults(rows)
        if faults:
            raise CorpusError("\n  ".join([f"{table}: {len(faults)} faults", *faults]))
        yield from map(_clip, rows)


def read_rows(
    table: Path, header_faults: Callable[[Sequence[str]], Sequence[str]]
) -> list[dict[str, str]]:
    """Read a csv into one dictionary per line, blank lines left out, every field stripped.

    Raises:
        CorpusError: it is no UTF-8 csv, `header_faults` finds faults in its columns, a column
            stands twice, a line has too many or too few fields; names all faults of the table.
    """
    try:
        # Spreadsheets begin a UTF-8 file with a byte order mark.
        with table.open(newline="", encoding="utf-8-sig") as file:
            header, *lines = [[cell.strip() for cell in line] for line in csv.reader(file) if line]
    except UnicodeDecodeError as error:
        raise CorpusError(f"{table} is not UTF-8 ({error}): save it as UTF-8") from error
    except (csv.Error, ValueError) as error:
        raise CorpusError(f"{table} is empty or no csv ({error}): start with the header") from error
    faults = [
        f"column {name!r} stands twice" for name in sorted(set(header)) if header.count(name) > 1
    ]
    faults.extend(header_faults(header))
    for number, line in enumerate(lines, 1):
        if len(line) != len(header):
            faults.append(
                f"clip {number} ({line[0]!r}) has {len(line)} fields, the header {len(header)}: "
                "quote text that holds a comma"
            )
    if faults:
        raise CorpusError("\n  ".join([f"{table}: {len(faults)} faults", *faults]))
    return [dict(zip(header, line, strict=True)) for line in lines]


def read_tables(
    folder: Path, columns: Mapping[str, Sequence[str]]
) -> dict[str, list[dict[str, str]]]:
    """Read several csv files, name -> the columns it must have; any further ones may stand there.

    Raises:
        CorpusError: `read_rows` refuses one; names all faults of all of them.
    """
    tables, broken = {}, []
    for name, needed in columns.items():
        try:
            tables[name] = read_rows(folder / name, partial(_missing, needed))
        except CorpusError as error:
            broken.append(str(error))
    if broken:
        raise CorpusError("\n".join(broken))
    return tables


def _missing(needed: Sequence[str], header: Sequence[str]) -> list[str]:
    return [f"no column {name}" for name in needed if name not in header]


def _header_faults(header: Sequence[str]) -> list[str]:
    faults = []
    if "clip_id" not in header:
        faults.append("no column clip_id")
    if not set(SAYING) & set(header):
        faults.append(f"no column {', '.join(SAYING[:-1])} or {SAYING[-1]}")
    faults.extend(
        f"unknown column {name!r}: rename it, or take it out.{plugins.hint(name, KNOWN)}"
        for name in header
        if name not in KNOWN and not name.startswith(ANNOTATOR_PREFIX)
    )
    return faults


def _faults(rows: list[dict[str, str]]) -> list[str]:
    faults = []
    spelling: dict[str, str] = {}
    for row in rows:
        clip_id, label, valence = row["clip_id"], row.get("label", ""), row.get("valence", "")
        first = spelling.setdefault(label.casefold(), label)
        if label != first:
            faults.append(f"clip {clip_id!r}: label {label!r} was {first!r} before: spell it alike")
        if valence and not is_number(valence):
            faults.append(f"clip {clip_id!r}: valence {valence!r} is not a number")
    return faults


def is_number(text: str) -> bool:
    """Say whether `text` is a finite number."""
    try:
        return abs(float(text)) < float("inf")
    except ValueError:
        return False


def _clip(row: dict[str, str]) -> Clip:
    annotators = {name: said for name, said in row.items() if name.startswith(ANNOTATOR_PREFIX)}
    known = {name: said for name, said in row.items() if name not in annotators}
    known["group"] = known.get("group") or known.get("speaker") or known["clip_id"]
    known["split"] = known.get("split") or ("train" if known.get("label") else "unlabelled")
    return Clip(**known, annotators=annotators)  # type: ignore[arg-type]
