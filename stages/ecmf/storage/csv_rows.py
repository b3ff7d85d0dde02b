"""Read csv files of the user's: every line a dictionary, every fault of the file in one message."""

import csv
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from ecmf.errors import CorpusError


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


def is_number(text: str) -> bool:
    """Say whether `text` is a finite number."""
    try:
        return abs(float(text)) < float("inf")
    except ValueError:
        return False
