"""Thin the rows of a clip by averaging neighbours, so that long sequences fit a disk."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecmf.media import Features

ROUNDING = 1e-9
"""Fraction of a span by which a time may miss its beginning, since 0.3 / 0.1 is below 3."""


@dataclass(frozen=True)
class Thinning:
    """Average the rows of each span of `row_seconds`, then neighbours to at most `max_rows`.

    The time of an average is the mean of the times of its rows. A span without a row has none.
    """

    row_seconds: float | None = None
    max_rows: int | None = None

    def __bool__(self) -> bool:
        """Return whether any limit is set."""
        return self.row_seconds is not None or self.max_rows is not None

    def __call__(self, features: Features) -> Features:
        """Average the rows of a clip, which are in the order of time."""
        if self.row_seconds is not None:
            spans = np.floor(features.times / self.row_seconds + ROUNDING)
            features = _average(features, np.flatnonzero(np.diff(spans, prepend=-1)))
        if self.max_rows is not None and len(features.values) > self.max_rows:
            firsts = np.arange(self.max_rows) * len(features.values) // self.max_rows
            features = _average(features, firsts)
        return features

    def rows_at_most(self, rows: int | None, seconds: float | None = None) -> int | None:
        """Return the largest number of rows of a clip, or None if nothing limits it.

        `rows` is the largest number before thinning, `seconds` the length of the clip; each is None
        where it is unknown.
        """
        limits = [limit for limit in (rows, self.max_rows) if limit is not None]
        if self.row_seconds is not None and seconds is not None:
            limits.append(int(seconds / self.row_seconds + ROUNDING) + 1)
        return min(limits, default=None)


def sum_if_known(rows: Iterable[int | None]) -> int | None:
    """Add numbers of rows; None if one of them is unknown."""
    total = 0
    for count in rows:
        if count is None:
            return None
        total += count
    return total


def _average(features: Features, firsts: NDArray[np.int64]) -> Features:
    """Average the rows from each of `firsts` to the next."""
    if len(firsts) in (0, len(features.values)):
        return features
    counts = np.diff(firsts, append=len(features.values))
    sums = np.add.reduceat(features.values, firsts, axis=0, dtype="float64")
    values = (sums / counts[:, None]).astype(features.values.dtype)
    return Features(values, np.add.reduceat(features.times, firsts) / counts)
