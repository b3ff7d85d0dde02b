"""Compare revisions with a baseline: scores, changed clips, parameters and files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ecmf.comparison.changes import changed_files, changed_params
from ecmf.comparison.paired_statistics import (
    LEVEL,
    Difference,
    McNemar,
    holm,
    mcnemar,
    paired_differences,
)
from ecmf.comparison.revision import Revision
from ecmf.comparison.same_test import check_same_test
from ecmf.data.manifest import Clip
from ecmf.metrics import Labels, group_numbers


@dataclass(frozen=True)
class ChangedClip:
    """A test clip that exactly one of two revisions decides right, with both probabilities."""

    clip_id: str
    label: str
    baseline: str
    baseline_probability: float
    other: str
    other_probability: float

    @property
    def confidence(self) -> float:
        """The lower of both probabilities: large if both revisions are sure of their decision."""
        return min(self.baseline_probability, self.other_probability)


@dataclass(frozen=True)
class Comparison:
    """A revision compared with the baseline, on `clips` test clips of `groups` groups.

    `p_holm` is the p-value of the first score, corrected for the number of revisions. `disagree`
    counts the clips that are decided differently, `changed` are those of them that one decides
    right, the most confident first. `params` and `files` are as in `changes`.
    """

    baseline: str
    other: str
    clips: int
    groups: int
    scores: Mapping[str, Difference]
    f1: Mapping[str, Difference]
    p_holm: float
    mcnemar: McNemar
    disagree: int
    changed: Sequence[ChangedClip]
    params: Mapping[str, tuple[Any, Any]]
    files: Mapping[str, str]

    @property
    def headline(self) -> str:
        """Name of the first score."""
        return next(iter(self.scores))

    @property
    def verdict(self) -> int:
        """1 if the revision is better, -1 if it is worse, 0 if neither is shown, after Holm."""
        return self.scores[self.headline].sign if self.p_holm <= LEVEL else 0


def compare(baseline: Revision, others: Sequence[Revision]) -> list[Comparison]:
    """Compare each of `others` with the baseline.

    Raises:
        ComparisonError: one of them was not tested on the same clips.
    """
    for other in others:
        check_same_test(baseline, other)
    clips = baseline.test
    classes = list(
        dict.fromkeys(
            [name for revision in (baseline, *others) for name in revision.classes]
            + [clip.label for clip in clips]
        )
    )
    truth = _numbers([clip.label for clip in clips], classes)
    first, *rest = (
        _numbers([revision.decision(clip) for clip in clips], classes)
        for revision in (baseline, *others)
    )
    groups = [clip.group for clip in clips]
    differences = paired_differences(truth, first, rest, groups, classes)
    corrected = holm([next(iter(scores.values())).p for scores, _ in differences])
    return [
        Comparison(
            baseline=baseline.name,
            other=other.name,
            clips=len(clips),
            groups=int(group_numbers(groups).max()) + 1,
            scores=scores,
            f1=f1,
            p_holm=p,
            mcnemar=mcnemar(truth, first, predicted),
            disagree=int((first != predicted).sum()),
            changed=_changed(baseline, other, clips),
            params=changed_params(baseline.params, other.params),
            files=changed_files(baseline, other),
        )
        for other, predicted, (scores, f1), p in zip(
            others, rest, differences, corrected, strict=True
        )
    ]


def _numbers(labels: Sequence[str], classes: Sequence[str]) -> Labels:
    return np.array([classes.index(label) for label in labels], "int64")


def _changed(baseline: Revision, other: Revision, clips: Sequence[Clip]) -> list[ChangedClip]:
    changed = [
        ChangedClip(
            clip.clip_id,
            clip.label,
            baseline.decision(clip),
            baseline.confidence(clip),
            other.decision(clip),
            other.confidence(clip),
        )
        for clip in clips
        if (baseline.decision(clip) == clip.label) != (other.decision(clip) == clip.label)
    ]
    return sorted(changed, key=lambda clip: (-clip.confidence, clip.clip_id))
