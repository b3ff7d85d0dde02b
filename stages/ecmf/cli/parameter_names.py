"""Shorten the names of parameters in the table of experiments."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PARAMS = Path("params.yaml")

Row = Mapping[str, Any]
"""A row of `dvc.api.exp_show`: numbers and texts by column, in the order of the files."""


def short_names(rows: Sequence[Row], written: Mapping[str, Any]) -> dict[str, str]:
    """Map the column of each parameter to the shortest end of its name that is unambiguous.

    A name is ambiguous if it is also the end of another parameter that is not nested more deeply:
    `model` is `train_fusion.model`, though an option may have the same name. `written` holds the
    sections of `params.yaml`.
    """
    columns = {
        column: column.removeprefix(f"{PARAMS}:")  # the prefix of a name that a score has, too
        for column in (rows[0] if rows else ())
        if column.removeprefix(f"{PARAMS}:").split(".")[0] in written
    }
    depth: dict[str, list[int]] = {}
    for name in columns.values():
        parts = name.split(".")
        for start in range(len(parts)):
            depth.setdefault(".".join(parts[start:]), []).append(len(parts))
    short = {}
    for column, name in columns.items():
        parts = name.split(".")
        ends = [".".join(parts[start:]) for start in reversed(range(len(parts)))]
        short[column] = next(
            end for end in ends if sum(other <= len(parts) for other in depth[end]) == 1
        )
    return short
