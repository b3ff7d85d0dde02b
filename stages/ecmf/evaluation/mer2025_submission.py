"""A file for MER2025 held against the rules of its official reading: all it breaks, or what it is.

The header `name,discrete`, then each candidate once and in the order asked for, with one of the
classes; UTF-8, lines that end in a line feed.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence

from ecmf import registry
from ecmf.errors import CorpusError

HEADER = ["name", "discrete"]
MOST_FAULTS = 20
"""How many faults are told one by one; the others are counted."""

Line = tuple[str, str]
"""A candidate, and what it is predicted to be."""


def written(lines: Sequence[Line]) -> bytes:
    """Return the content of the file."""
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([HEADER, *lines])
    return table.getvalue().encode()


def check(content: bytes, candidates: Sequence[str], classes: Sequence[str], where: str) -> str:
    """Say in a line what a file holds.

    Raises:
        CorpusError: it breaks a rule; names all it breaks.
    """
    lines, faults = _read(content)
    faults = faults or [*_faults(lines, candidates, classes)]
    if faults:
        told = faults[:MOST_FAULTS]
        if len(faults) > len(told):
            told.append(f"and {len(faults) - len(told)} more")
        raise CorpusError("\n  ".join([f"{where}: {len(faults)} faults", *told]))
    counts = Counter(label for _, label in lines)
    return f"{len(lines)} candidates (" + ", ".join(f"{c} {counts[c]}" for c in classes) + ")"


def _read(content: bytes) -> tuple[list[Line], list[str]]:
    """Return the lines below the header, and why the bytes are no such table."""
    try:
        text = content.decode()
        rows = list(csv.reader(io.StringIO(text), strict=True))
    except UnicodeDecodeError as error:
        return [], [f"it is not UTF-8: {error.reason} at byte {error.start}"]
    except csv.Error as error:
        return [], [f"it is not a csv file: {error}"]
    faults = []
    if "\r" in text:
        faults.append("it has carriage returns: end its lines in a line feed alone")
    if not text.endswith("\n"):
        faults.append("its last line does not end: it may have been cut")
    if rows[:1] != [HEADER]:
        got = ",".join(rows[0]) if rows else ""
        faults.append(f"its first line is {got!r}, not {','.join(HEADER)!r}")
    faults += [
        f"line {number} has {len(row)} fields, not {len(HEADER)}"
        for number, row in enumerate(rows, 1)
        if len(row) != len(HEADER)
    ]
    return [] if faults else [(name, label) for name, label in rows[1:]], faults


def _faults(
    lines: Sequence[Line], candidates: Sequence[str], classes: Sequence[str]
) -> Iterator[str]:
    counts, asked = Counter(name for name, _ in lines), set(candidates)
    for name, count in counts.items():
        if count > 1:
            yield f"{name!r} stands {count} times: keep one line"
        if name not in asked:
            yield f"{name!r} is no candidate: take it out"
    for name in candidates:
        if name not in counts:
            yield f"candidate {name!r} is missing: add it"
    if set(counts) == asked:
        for number, (name, candidate) in enumerate(zip(counts, candidates, strict=True), 1):
            if name != candidate:
                yield f"candidate {number} is {name!r}, not {candidate!r}: keep the order asked for"
                break
    for name, label in lines:
        if label not in classes:
            yield (
                f"{name!r}: unknown class {label!r}, the classes are {', '.join(classes)}."
                + registry.hint(label, classes)
            )
