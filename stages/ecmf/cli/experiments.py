"""List experiments with their changed parameters and headline score: `ecmf experiments`.

`dvc exp show` has a column per parameter and score; this table fits a terminal.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import dvc.api
import yaml
from dvc.exceptions import NotDvcRepoError

from ecmf.cli import experiment_marks
from ecmf.cli.command import Command
from ecmf.cli.parameter_names import PARAMS, Row, short_names
from ecmf.errors import MissingFileError

WIDTH = 120
"""Characters of a line; only a very long name of an experiment makes it longer."""

LEAST_CHANGES = 12
"""Characters left for the changes beside such a name."""

HEADER = ("experiment", "changes", "test score, 95 % interval", "when")
SPLIT = "test."
ALL_COMMITS = -1
ABSENT = "None"
"""Text of an absent value, and of null, in a row of DVC."""

Line = tuple[str, str, str, str]
"""The cells of a line, under `HEADER`."""


def experiments(commits: int, best_first: bool) -> str:
    """Return a table of the workspace, of the last `commits` commits, and of their experiments.

    A commit is followed by its experiments, newest first or best first. Their changes are relative
    to it, those of the workspace to the last commit. An older commit without experiments is left
    out.

    Raises:
        MissingFileError: the current folder is not the root of a project.
    """
    try:
        written = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
        rows: list[Row] = dvc.api.exp_show(num=commits)
    except (FileNotFoundError, NotDvcRepoError) as error:
        raise MissingFileError(
            f"{Path.cwd()} has no {PARAMS} or is no DVC repository: run from the project's root"
        ) from error
    groups = _groups(rows)
    marks = _marks(groups)
    table = _layout([HEADER, *_lines(groups, short_names(rows, written), marks, best_first)])
    if any(marks.values()):
        table += f"\n{experiment_marks.LEGEND}"
    if all(row["typ"] == "baseline" for row in rows):
        where = "" if commits == ALL_COMMITS else " of this commit (older ones: --all-commits)"
        table += f"\nno experiment{where}: make one, `dvc exp run -S train_fusion.model=baseline`"
    return table


def _groups(rows: Sequence[Row]) -> list[list[Row]]:
    """Group the rows: the workspace alone, then each commit before its experiments."""
    groups: list[list[Row]] = []
    for row in rows:
        if row["typ"] == "baseline":
            groups.append([])
        groups[-1].append(row)
    return groups


def _marks(groups: Sequence[Sequence[Row]]) -> dict[str, str]:
    """Map the names of revisions to the mark of their difference to their commit."""
    marks: dict[str, str] = {}
    for number, (baseline, *made) in enumerate(groups):
        compared = [baseline] if number == 0 else made
        names = [_name(row) for row in compared if _headline(row) and not _state(row)]
        if names and len(groups) > 1:
            marks |= experiment_marks.mark(groups[max(1, number)][0]["rev"], names)
    return marks


def _name(row: Row) -> str:
    """Return the name of a revision: of an experiment its own, else that of the commit."""
    return str(row["Experiment"] or row["rev"])


def _lines(
    groups: Sequence[list[Row]],
    names: Mapping[str, str],
    marks: Mapping[str, str],
    best_first: bool,
) -> list[Line]:
    """Format the rows: the workspace, then each commit before its experiments."""
    lines = []
    for number, (baseline, *made) in enumerate(groups):
        if number > 1 and not made:
            continue
        # The first baseline is the workspace; the next one, if there is any, is the last commit.
        commit = groups[min(1, len(groups) - 1)][0] if number == 0 else baseline
        if best_first:
            made.sort(key=_headline_value, reverse=True)
        lines.append(_line(baseline["rev"], baseline, commit, names, marks))
        lines += [_line(f"  {_name(row)}", row, commit, names, marks) for row in made]
    return lines


def _line(
    name: str, row: Row, commit: Row, names: Mapping[str, str], marks: Mapping[str, str]
) -> Line:
    changes = []
    for column, short in names.items():
        value = _text(row[column])
        if value != _text(commit[column]):
            changes.append(f"~{short}" if value == ABSENT else f"{short}={value}")
    score = f"{_score(row)}  {marks.get(name.strip(), '')}".rstrip()
    return name, " ".join(changes), _state(row) or score, str(row["Created"] or "")


def _state(row: Row) -> str:
    """Return queued, running or failed, or "" for an experiment that has scores."""
    state = str(row["State"] or "").lower()
    return "" if state == "success" else state


def _score(row: Row) -> str:
    """Format the headline, the first score of the test split, with its interval."""
    column = _headline(row)
    if not column:
        return ""
    text = f"{column.rpartition(SPLIT)[2]} {row[column]:.3f}"
    low, high = row.get(f"{column}_low"), row.get(f"{column}_high")
    if isinstance(low, float) and isinstance(high, float):
        text += f"  {low:.3f} to {high:.3f}"
    return text


def _headline(row: Row) -> str:
    """Return the column of the first score of the test split, or ""."""
    return next(
        (
            column
            for column, value in row.items()
            if column.rpartition(":")[2].startswith(SPLIT) and isinstance(value, float)
        ),
        "",
    )


def _headline_value(row: Row) -> float:
    column = _headline(row)
    return row[column] if column and not _state(row) else -math.inf


def _text(value: Any) -> str:
    """Format a value as `-S` takes it, from a float or the text of a Python list."""
    if isinstance(value, float):
        return f"{value:.15g}"
    text = str(value)
    return text.replace("'", "").replace(", ", ",") if text.startswith("[") else text


def _layout(lines: Sequence[Line]) -> str:
    """Align the cells; cut the changes to the width that the other cells leave."""
    gap = "  "
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    others = widths[0] + widths[2] + widths[3] + 3 * len(gap)
    widths[1] = min(widths[1], max(LEAST_CHANGES, WIDTH - others))
    return "\n".join(
        gap.join(
            cell.ljust(width)
            for cell, width in zip((name, _cut(changes, widths[1]), *rest), widths, strict=True)
        ).rstrip()
        for name, changes, *rest in lines
    )


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


@click.command("experiments", cls=Command)
@click.option(
    "-n", "commits", type=click.IntRange(1), default=1, help="Of this many last commits; default 1."
)
@click.option("--all-commits", is_flag=True, help="Of all commits; the first time, each is read.")
@click.option(
    "--sort",
    type=click.Choice(["new", "best"]),
    default="new",
    help="Newest first (default), or best test score first.",
)
def command(commits: int, all_commits: bool, sort: str) -> str:
    """List experiments: what they change, their test score with its interval, and when.

    \b
    Example:
      ecmf experiments --sort best
    """  # noqa: D301
    return experiments(ALL_COMMITS if all_commits else commits, sort == "best")
