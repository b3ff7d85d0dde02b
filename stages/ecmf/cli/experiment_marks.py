"""Mark the experiments that are certainly better or worse than their commit."""

from collections.abc import Sequence

from ecmf.comparison.comparison import compare
from ecmf.comparison.revision import read_revision
from ecmf.errors import UserError

MARKS = {1: "better", -1: "worse", 0: "open"}
LEGEND = (
    "better, worse: the 95 % interval of the paired difference to the commit excludes 0; open: it "
    "contains 0 (`ecmf compare` shows it)"
)


def mark(commit: str, others: Sequence[str]) -> dict[str, str]:
    """Compare revisions with their commit; return a word of `MARKS` for each.

    A revision is left out whose predictions are not at hand, or are of other test clips.
    """
    try:
        baseline = read_revision(commit)
    except UserError:
        return {}
    marks = {}
    for name in others:
        try:
            (found,) = compare(baseline, [read_revision(name)])
        except UserError:
            continue
        marks[name] = MARKS[found.scores[found.headline].sign]
    return marks
