"""Join spans of speech and shot cuts to utterances."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise

Span = tuple[float, float]
"""Start and end in seconds."""


def divide_at_cuts(spans: Sequence[Span], cuts: Sequence[float], shortest: float) -> list[Span]:
    """Divide each span of speech at the shot cuts in it that leave no part below `shortest`."""
    divided: list[Span] = []
    for start, end in spans:
        borders = [start]
        for cut in cuts[bisect_right(cuts, start) : bisect_left(cuts, end)]:
            if cut - borders[-1] >= shortest and end - cut >= shortest:
                borders.append(cut)
        divided += pairwise([*borders, end])
    return divided


def pad(spans: Sequence[Span], cuts: Sequence[float], padding: float, length: float) -> list[Span]:
    """Lengthen spans by `padding` seconds on both sides.

    A span reaches neither over a shot cut nor over the middle of the pause to the next one, nor out
    of a recording of `length` seconds. Spans do not overlap.
    """
    ends = [0.0, *(end for _, end in spans)]
    starts = [*(start for start, _ in spans), length]
    padded = []
    for index, (start, end) in enumerate(spans):
        before = (ends[index] + start) / 2 if index else 0.0
        after = (end + starts[index + 1]) / 2 if index + 1 < len(spans) else length
        shot_start = cuts[found - 1] if (found := bisect_right(cuts, start)) else 0.0
        shot_end = cuts[found] if (found := bisect_left(cuts, end)) < len(cuts) else length
        padded.append(
            (max(start - padding, before, shot_start), min(end + padding, after, shot_end))
        )
    return padded
