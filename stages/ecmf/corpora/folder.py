"""Any folder with a `clips.csv` in it: one line per clip, files named relative to the folder.

Columns: clip_id, one or more of video, audio and transcript, and as far as they are known language,
speaker, group, dialogue, split, label, valence and one `annotator_<name>` per annotator. A group
not given is the speaker, or else the clip itself; a split not given is train, or unlabelled where
there is no label.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from ecmf import registry
from ecmf.data.manifest import ANNOTATOR_PREFIX, COLUMNS, Clip
from ecmf.errors import CorpusError, MissingFileError
from ecmf.storage.csv_rows import is_number, read_rows

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


def _header_faults(header: Sequence[str]) -> list[str]:
    faults = []
    if "clip_id" not in header:
        faults.append("no column clip_id")
    if not set(SAYING) & set(header):
        faults.append(f"no column {', '.join(SAYING[:-1])} or {SAYING[-1]}")
    faults.extend(
        f"unknown column {name!r}: rename it, or take it out.{registry.hint(name, KNOWN)}"
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


def _clip(row: dict[str, str]) -> Clip:
    annotators = {name: said for name, said in row.items() if name.startswith(ANNOTATOR_PREFIX)}
    known = {name: said for name, said in row.items() if name not in annotators}
    known["group"] = known.get("group") or known.get("speaker") or known["clip_id"]
    known["split"] = known.get("split") or ("train" if known.get("label") else "unlabelled")
    return Clip(**known, annotators=annotators)  # type: ignore[arg-type]
