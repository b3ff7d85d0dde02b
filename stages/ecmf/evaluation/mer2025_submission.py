"""Write and check a submission file of MER2025 by the rules of its official reader.

The file has the header `name,discrete` and a line with the class of each candidate, in the order of
the manifest; UTF-8, with line feeds.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence

from ecmf import registry
from ecmf.errors import CorpusError

HEADER = ["name", "discrete"]
MAX_ERRORS = 20
"""Maximum errors that are listed; the others are only counted."""

Row = tuple[str, str]
"""A candidate and its predicted class."""


def to_csv(rows: Sequence[Row]) -> bytes:
    """Return the content of the submission file."""
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([HEADER, *rows])
    return table.getvalue().encode()


def check(content: bytes, candidates: Sequence[str], classes: Sequence[str], name: str) -> str:
    """Check a submission, and return a one-line summary of it.

    Raises:
        CorpusError: the submission breaks a rule; lists up to MAX_ERRORS errors.
    """
    rows, errors = _parse(content)
    errors = errors or [*_find_errors(rows, candidates, classes)]
    if errors:
        listed = errors[:MAX_ERRORS]
        if len(errors) > len(listed):
            listed.append(f"and {len(errors) - len(listed)} more")
        raise CorpusError("\n  ".join([f"{name}: {len(errors)} errors", *listed]))
    counts = Counter(label for _, label in rows)
    return f"{len(rows)} candidates (" + ", ".join(f"{c} {counts[c]}" for c in classes) + ")"


def _parse(content: bytes) -> tuple[list[Row], list[str]]:
    """Return the rows below the header, and the errors of the format."""
    try:
        text = content.decode()
        rows = list(csv.reader(io.StringIO(text), strict=True))
    except UnicodeDecodeError as error:
        return [], [f"not UTF-8: {error.reason} at byte {error.start}"]
    except csv.Error as error:
        return [], [f"not a csv file: {error}"]
    errors = []
    if "\r" in text:
        errors.append("it has carriage returns: end lines with only a line feed")
    if not text.endswith("\n"):
        errors.append("the last line has no line feed: the file may be truncated")
    if rows[:1] != [HEADER]:
        got = ",".join(rows[0]) if rows else ""
        errors.append(f"the first line is {got!r}, not {','.join(HEADER)!r}")
    errors += [
        f"line {number} has {len(row)} fields, not {len(HEADER)}"
        for number, row in enumerate(rows, 1)
        if len(row) != len(HEADER)
    ]
    return [] if errors else [(name, label) for name, label in rows[1:]], errors


def _find_errors(
    rows: Sequence[Row], candidates: Sequence[str], classes: Sequence[str]
) -> Iterator[str]:
    counts, expected = Counter(name for name, _ in rows), set(candidates)
    for name, count in counts.items():
        if count > 1:
            yield f"{name!r} occurs {count} times: keep one line"
        if name not in expected:
            yield f"{name!r} is not a candidate: remove it"
    for name in candidates:
        if name not in counts:
            yield f"candidate {name!r} is missing: add it"
    if set(counts) == expected:
        for number, (name, candidate) in enumerate(zip(counts, candidates, strict=True), 1):
            if name != candidate:
                yield f"candidate {number} is {name!r}, not {candidate!r}: keep their order"
                break
    for name, label in rows:
        if label not in classes:
            yield (
                f"{name!r}: unknown class {label!r}, the classes are {', '.join(classes)}."
                + registry.did_you_mean(label, classes)
            )
