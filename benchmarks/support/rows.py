"""The rows of an encoder: a sequence in time or over tokens, or one row per clip."""

from collections.abc import Mapping
from typing import Any, Literal

Rows = Literal["sequence", "clip"]

ROW_OPTIONS = ("rows", "window_seconds", "hop_seconds", "row_seconds", "max_rows")
"""Options of a sequence; without them the encoders of voice and text give one row per clip."""


def with_rows(entry: Mapping[str, Any], rows: Rows) -> dict[str, Any]:
    """Return an entry of a table of encoders as it is, or without its options of a sequence."""
    left_out = ROW_OPTIONS if rows == "clip" else ()
    return {name: value for name, value in entry.items() if name not in left_out}
