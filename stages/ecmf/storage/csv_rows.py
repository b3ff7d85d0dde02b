"""Read the user's csv files; all errors of a file are reported in one message."""

import csv
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from ecmf.errors import CorpusError


def read_csv(
    path: Path, header_errors: Callable[[Sequence[str]], Sequence[str]]
) -> list[dict[str, str]]:
    """Read a csv file into one dictionary per line; skip blank lines and strip every field.

    Raises:
        CorpusError: the file is not csv in UTF-8, `header_errors` returns errors, a column appears
            twice, or a line has too many or too few fields; lists all errors.
    """
    try:
        # Spreadsheets begin a UTF-8 file with a byte order mark.
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *lines = [[cell.strip() for cell in line] for line in csv.reader(file) if line]
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8 ({error}): save it as UTF-8") from error
    except (csv.Error, ValueError) as error:
        raise CorpusError(f"{path} is empty or not csv ({error}): start with the header") from error
    errors = [
        f"column {name!r} appears twice" for name in sorted(set(header)) if header.count(name) > 1
    ]
    errors.extend(header_errors(header))
    for number, line in enumerate(lines, 1):
        if len(line) != len(header):
            errors.append(
                f"clip {number} ({line[0]!r}) has {len(line)} fields, the header {len(header)}: "
                "quote text that contains a comma"
            )
    if errors:
        raise CorpusError("\n  ".join([f"{path}: {len(errors)} errors", *errors]))
    return [dict(zip(header, line, strict=True)) for line in lines]


def read_csv_files(
    folder: Path, columns: Mapping[str, Sequence[str]]
) -> dict[str, list[dict[str, str]]]:
    """Read csv files of `folder`; `columns` maps a file name to the columns it must have.

    Raises:
        CorpusError: as `read_csv`; lists all errors of all files.
    """
    tables, reports = {}, []
    for name, required in columns.items():
        try:
            tables[name] = read_csv(folder / name, partial(_missing, required))
        except CorpusError as error:
            reports.append(str(error))
    if reports:
        raise CorpusError("\n".join(reports))
    return tables


def _missing(required: Sequence[str], header: Sequence[str]) -> list[str]:
    return [f"no column {name}" for name in required if name not in header]


def is_number(text: str) -> bool:
    """Return whether `text` is a finite number."""
    try:
        return abs(float(text)) < float("inf")
    except ValueError:
        return False
