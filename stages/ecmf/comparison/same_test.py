"""Refuse to compare revisions that were not tested on the same clips."""

from collections.abc import Callable

from ecmf.comparison.revision import Revision
from ecmf.data.manifest import Clip
from ecmf.errors import ComparisonError

PROPERTIES: dict[str, Callable[[Clip], str]] = {
    "another label": lambda clip: clip.label,
    "another group": lambda clip: clip.group,
    "another file": lambda clip: clip.sha256[:12],
}
"""What must be the same of a test clip; the sentence is "3 test clips have …"."""


def check_same_test(baseline: Revision, other: Revision) -> None:
    """Check that both revisions predicted the same test clips, with the same splits.

    Clips that only one of both has may be trained on: more training data is a fair comparison.

    Raises:
        ComparisonError: they did not; the message has the reason.
    """
    reason = _other_split(baseline, other) or _other_clips(baseline, other)
    if reason:
        raise ComparisonError(
            f"{other.name} is not compared with {baseline.name}: {reason}. A difference would be "
            "that of the clips too: evaluate both on one manifest"
        )
    for revision in (baseline, other):
        if missing := [clip for clip in revision.test if not revision.decision(clip)]:
            raise ComparisonError(
                f"{revision.name} has no prediction of {len(missing)} test clips, e.g. "
                f"{missing[0].clip_id!r}: `dvc repro evaluate_fusion` predicts all of them"
            )


def _other_split(baseline: Revision, other: Revision) -> str:
    """Return how the splits differ, or ""."""
    split = {clip.clip_id: clip.split for clip in other.clips}
    moved = [c for c in baseline.clips if split.get(c.clip_id, c.split) != c.split]
    if moved:
        clip = moved[0]
        return (
            f"{len(moved)} clips are in another split, e.g. {clip.clip_id!r} in {clip.split} of "
            f"{baseline.name} and in {split[clip.clip_id]} of {other.name}"
        )
    folds = [revision.params["train_fusion"].get("outer_folds") for revision in (baseline, other)]
    if folds[0] != folds[1] and not any(clip.split == "test" for clip in baseline.clips):
        return f"the corpus has no test split, and {folds[0]} test folds are not {folds[1]}"
    return ""


def _other_clips(baseline: Revision, other: Revision) -> str:
    """Return how the test clips differ, or ""."""
    first, second = ({clip.clip_id: clip for clip in each.test} for each in (baseline, other))
    if first.keys() != second.keys():
        owner = baseline if first.keys() - second.keys() else other
        alone = sorted(first.keys() - second.keys() or second.keys() - first.keys())
        return (
            f"{baseline.name} has {len(first)} test clips and {other.name} {len(second)}, e.g. "
            f"{alone[0]!r} is one of {owner.name} alone"
        )
    if not first:
        return "there is no test clip, nor a labelled one"
    for what, value in PROPERTIES.items():
        if differ := [name for name in first if value(first[name]) != value(second[name])]:
            name = differ[0]
            return (
                f"{len(differ)} test clips have {what}, e.g. {name!r}: {value(first[name])!r} in "
                f"{baseline.name}, {value(second[name])!r} in {other.name}"
            )
    return ""
