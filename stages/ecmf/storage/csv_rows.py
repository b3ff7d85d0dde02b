"""Read csv files that others wrote: no line may be lost or merged with another without an error.

All errors of a file are reported in one message, with the numbers of their lines.
"""

import csv
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ecmf.errors import CorpusError, summarise
from ecmf.storage.csv_cells import restore

SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
"""Separators that other programs write in place of the comma."""

MAX_FIELD = csv.field_size_limit()
"""Characters of the longest field; the rest of a file after an unclosed quote is longer."""

BETWEEN_FIELDS = re.compile(r",(?! )")
"""A comma that separates fields; one in a sentence is followed by a space."""

QUOTING = (
    "put text that contains a comma between quotes, and write a quote inside of it twice; a quote "
    "at the start of a text needs one at its end"
)


LINES = 10
"""Numbers of lines that a warning lists."""

log = logging.getLogger(__name__)


class Row(NamedTuple):
    """One row: the number of the line it begins at, counted from 1, and its fields."""

    line: int
    fields: list[str]


def read_csv(
    path: Path, header_errors: Callable[[Sequence[str]], Sequence[str]]
) -> list[dict[str, str]]:
    """Read a csv file into one dictionary per row; strip every field.

    Raises:
        CorpusError: as `read_rows`, or `header_errors` returns errors; lists all errors.
    """
    header, rows = read_rows(path, header_errors)
    return [dict(zip(header, (field.strip() for field in row.fields), strict=True)) for row in rows]


def read_written(path: Path, required: Sequence[str] = ()) -> list[dict[str, str]]:
    """Read a csv file that `files.write_csv` wrote, with the texts as they were before.

    Raises:
        CorpusError: as `read_rows`, or a `required` column is missing.
    """
    header, rows = read_rows(path, partial(_missing, required), by_us=True)
    return [dict(zip(header, map(restore, row.fields), strict=True)) for row in rows]


def read_rows(
    path: Path, header_errors: Callable[[Sequence[str]], Sequence[str]], *, by_us: bool = False
) -> tuple[list[str], list[Row]]:
    """Read the header and the rows of a csv file.

    Blank lines are skipped, and with a warning also rows of empty fields, which spreadsheets leave.
    `by_us` tells that `files.write_csv` wrote the file, whose quotes are all meant.

    Raises:
        CorpusError: the file is not UTF-8 or holds NUL characters, its separator is no comma, a
            quote is not closed, a field contains what looks like further rows, a column appears
            twice, a row has too many or too few fields, or `header_errors` returns errors.
    """
    header, *rows = list(_parse(path, _lines(path), by_us)) or [Row(1, [])]
    if blank := [str(row.line) for row in rows if not any(map(str.strip, row.fields))]:
        rows = [row for row in rows if any(map(str.strip, row.fields))]
        log.warning(
            "%s: %d rows of empty fields left out: lines %s",
            path, len(blank), ", ".join([*blank[:LINES], *["..."][: len(blank) - LINES]]),
        )  # fmt: skip
    columns = [name.strip() for name in header.fields]
    if not any(columns):
        raise CorpusError(f"{path} is empty: start with the header")
    if error := _separator_error(columns):
        raise CorpusError(f"{path}: {error}")
    errors = [
        f"column {name!r} appears twice" if name else "several columns have no name: name them"
        for name in sorted(set(columns))
        if columns.count(name) > 1
    ]
    errors.extend(header_errors(columns))
    errors.extend(
        f"line {row.line} ({row.fields[0]!r}) has {len(row.fields)} fields, the header "
        f"{len(columns)}: {QUOTING}"
        for row in rows
        if len(row.fields) != len(columns)
    )
    if errors:
        raise CorpusError(summarise(path, errors))
    return columns, rows


def _lines(path: Path) -> list[str]:
    """Read the lines of a text, each with its line end."""
    try:
        # Spreadsheets begin a UTF-8 file with a byte order mark.
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = list(file)
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8 ({error}): save it as UTF-8") from error
    for number, line in enumerate(lines, 1):
        if "\0" in line:
            raise CorpusError(f"{path}: line {number} holds a NUL character: save it as UTF-8 text")
    return lines


def _parse(path: Path, lines: Sequence[str], by_us: bool) -> Iterator[Row]:
    """Parse csv strictly: nothing may follow a closing quote but a comma or the end of the line."""
    reader = csv.reader(lines, strict=True)
    columns = first = 0
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise CorpusError(_syntax_error(path, first + 1, reader.line_num, error)) from error
        columns = columns or len(fields)
        for number in () if by_us else range(first + 1, reader.line_num):
            if len(BETWEEN_FIELDS.findall(lines[number])) + 1 >= columns:
                raise CorpusError(
                    f"{path}: a quote that opens on line {first + 1} closes on line "
                    f"{reader.line_num}, and line {number + 1} between them looks like a row of "
                    f"its own: {QUOTING}; if the text does have line breaks, write spaces for them"
                )
        if fields:
            yield Row(first + 1, fields)
        first = reader.line_num


def _syntax_error(path: Path, first: int, last: int, error: csv.Error) -> str:
    where = f"{path}: line {first}"
    if "end of data" in str(error):
        return f"{where}: a quote that opens there is not closed up to the end: {QUOTING}"
    if "field limit" in str(error):
        return (
            f"{where}: a field is longer than {MAX_FIELD:,} characters, as after a quote that is "
            f"not closed: {QUOTING}"
        )
    return f"{where}: not csv (line {last}: {error}): {QUOTING}"


def _separator_error(columns: Sequence[str]) -> str:
    if len(columns) > 1:
        return ""
    for separator, name in SEPARATORS.items():
        if separator in columns[0]:
            return f"its fields are separated by {name}: save it with commas"
    return ""


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
