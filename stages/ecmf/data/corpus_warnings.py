"""Find what makes the scores of a corpus doubtful, from its manifest alone.

The sentences name no clip and no speaker: they are kept beside the scores, also of a gated corpus.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ecmf.data.manifest import Clip, classes_of
from ecmf.storage.files import sha256

UNITS = ("speaker", "dialogue", "group")
"""Columns whose values should not be both in training and in a split that is scored."""


def describe_corpus(manifest: Path, clips: Sequence[Clip]) -> dict[str, Any]:
    """Identify the corpus that scores belong to, for the details of an evaluation."""
    scored = {"test"} if _has_test(clips) else {"train", "val"}
    classes = Counter(clip.label for clip in clips if clip.split in scored and clip.label)
    return {
        "name": manifest.stem,
        "manifest_sha256": sha256(manifest),
        "clips": len(clips),
        "test_clips_by_class": dict(sorted(classes.items())),
        "warnings": corpus_warnings(clips, classes_of(manifest, clips)),
    }


def corpus_warnings(clips: Sequence[Clip], classes: Sequence[str]) -> list[str]:
    """Return a sentence for each doubt: shared contents and speakers, absent and rare classes."""
    warnings = list(_class_warnings(clips, classes))
    if shared := shared_contents(clips):
        warnings.append(
            f"{len(shared)} files have the same content on both sides of "
            f"{'the splits' if _has_test(clips) else 'a fold'}: models are tested on clips that "
            "they were trained on, and the scores are too high"
        )
    return [*warnings, *_unit_warnings(clips)]


def shared_contents(clips: Sequence[Clip]) -> list[tuple[Clip, Clip]]:
    """Return pairs of clips with the same files, of which one is trained on and one is tested.

    Pieces of the same files share the content of their overlap. The sides are the splits train,
    val and test, or the groups of a corpus without a test split, which is divided into folds by
    group. Each content is listed once.
    """
    side = "split" if _has_test(clips) else "group"
    by_content: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        if clip.sha256 and clip.split in ("train", "val", "test"):
            by_content[clip.sha256].append(clip)
    pairs = (_overlap(same, side) for same in by_content.values())
    return [pair for pair in pairs if pair]


def _overlap(clips: Sequence[Clip], side: str) -> tuple[Clip, Clip] | None:
    """Return the first two pieces of a file that overlap and are on different sides."""
    latest: dict[str, Clip] = {}  # the piece of each side that ends last, of those begun so far
    for clip in sorted(clips, key=lambda clip: float(clip.start or 0)):
        own = getattr(clip, side)
        for name, other in latest.items():
            if name != own and _end(other) > float(clip.start or 0):
                return other, clip
        if own not in latest or _end(clip) > _end(latest[own]):
            latest[own] = clip
    return None


def _end(clip: Clip) -> float:
    return float(clip.end or "inf")


def _has_test(clips: Sequence[Clip]) -> bool:
    return any(clip.split == "test" for clip in clips)


def _unit_warnings(clips: Sequence[Clip]) -> Iterator[str]:
    if not _has_test(clips):
        groups: dict[str, set[str]] = defaultdict(set)
        for clip in clips:
            if clip.speaker and clip.split in ("train", "val"):
                groups[clip.speaker].add(clip.group)
        if several := sum(len(names) > 1 for names in groups.values()):
            yield (
                f"{several} of {len(groups)} speakers are in several groups: folds do not keep "
                "them apart, and the scores say less about unknown speakers"
            )
        return
    for split in ("test", "val"):
        told: list[set[str]] = []
        for unit in UNITS:
            scored = {getattr(clip, unit) for clip in clips if clip.split == split} - {""}
            shared = scored & {getattr(clip, unit) for clip in clips if clip.split == "train"}
            if shared and shared not in told:
                yield (
                    f"{len(shared)} of {len(scored)} {unit}s of the split {split} are in training "
                    f"too: its scores say less about unknown {unit}s"
                )
            told.append(shared)


def _class_warnings(clips: Sequence[Clip], classes: Sequence[str]) -> Iterator[str]:
    has_test = _has_test(clips)
    learned = ("train",) if has_test else ("train", "val")
    labelled = [clip for clip in clips if clip.label and clip.split in learned]
    trained = Counter(clip.label for clip in labelled)
    tested = Counter(clip.label for clip in clips if clip.split == "test" and clip.label)
    if len(trained) < 2:
        found = f"one class, {next(iter(trained))!r}" if trained else "no class"
        yield f"the training clips have {found}: with fewer than two there is nothing to learn"
        return
    groups: dict[str, set[str]] = defaultdict(set)
    for clip in labelled:
        groups[clip.label].add(clip.group)
    for name in classes:
        if not trained[name]:
            more = f" but {tested[name]} test clips, and none is recognised" if tested[name] else ""
            yield f"class {name!r} has no training clip{more}: its F1 of 0 tells nothing of a model"
        elif len(groups[name]) == 1:
            yield (
                f"class {name!r} has training clips of one group only ({trained[name]} clips): no "
                "fold can both learn and test it, and label refinement hears no model about them"
            )
        if has_test and trained[name] and not tested[name]:
            yield f"class {name!r} has no test clip: its F1 of 0 tells nothing of a model"
