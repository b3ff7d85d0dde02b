"""Count label decisions, and compare the sources with each other and with the decisions."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from ecmf.data.label_table import Label
from ecmf.refinement.base import SourceVotes
from ecmf.refinement.vote_table import VoteTable

DOUBTING_DECISIONS = ("dropped", "downweighted")
"""Decisions that keep a label but reduce its weight."""

MIN_SHARED_CLIPS = 2
"""Minimum clips with votes of both sources for reporting their agreement."""


def audit(labels: Sequence[Label], table: VoteTable, classes: Sequence[str]) -> dict[str, Any]:
    """Compute the content of `metrics/labels.json` from the voted clips."""
    label_of = {label.clip_id: label for label in labels}
    voted = [label_of[clip_id] for clip_id in table.clip_ids]
    given = table.sources["given"]
    training = [label for label, known in zip(voted, given.has_vote, strict=True) if known]
    added = [label for label in voted if label.decision == "added"]
    before = [classes[index] for index in given.top_class if index >= 0]
    return {
        "clips": len(training),
        "changed": sum(not _same(label, was) for label, was in zip(training, before, strict=True)),
        "decisions": _counts(label.decision for label in training),
        "added": len(added),
        "weight": round(sum(label.weight for label in [*training, *added]), 6),
        "classes": {name: _class_report(name, training, before, added) for name in classes},
        "sources": {
            name: _source_report(source, voted, given, classes)
            for name, source in table.sources.items()
        },
        "agreement": _pairwise(table.sources, _agreement),
        "kappa": _pairwise(table.sources, _kappa),
        "confusion": {
            name: _confusion(source, voted, classes) for name, source in table.sources.items()
        },
        "rounds": table.rounds,
    }


def _same(label: Label, was: str) -> bool:
    return label.decision in ("kept", "trusted") and label.label == was


def _counts(decisions: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(decisions).items()))


def _class_report(
    name: str, training: Sequence[Label], before: Sequence[str], added: Sequence[Label]
) -> dict[str, Any]:
    """Count the decisions on clips of a class in the manifest, and the clips of the class now."""
    of_class = [label for label, was in zip(training, before, strict=True) if was == name]
    return {
        "given": len(of_class),
        "decisions": _counts(label.decision for label in of_class),
        "taken_for": _counts(label.label for label in of_class if label.label != name),
        "added": sum(label.label == name for label in added),
        "learned_as": sum(
            label.label == name and label.weight > 0 for label in [*training, *added]
        ),
    }


def _source_report(
    source: SourceVotes, voted: Sequence[Label], given: SourceVotes, classes: Sequence[str]
) -> dict[str, Any]:
    """Count the votes of a source for and against each decision.

    A vote for a label that was dropped or downweighted is against that decision.
    """
    votes: dict[str, Counter[str]] = {}
    for label, top_class in zip(voted, source.top_class, strict=True):
        if label.decision == "unlabelled":
            continue
        agrees = (classes[top_class] == label.label) != (label.decision in DOUBTING_DECISIONS)
        vote = "silent" if top_class < 0 else "for" if agrees else "against"
        votes.setdefault(label.decision, Counter())[vote] += 1
    return {
        "kind": source.kind,
        **source.provenance,
        "clips": int(source.has_vote.sum()),
        "agrees_with_given": _agreement(source, given),
        "decisions": {name: dict(sorted(counts.items())) for name, counts in sorted(votes.items())},
    }


def _pairwise(
    sources: Mapping[str, SourceVotes],
    measure: Callable[[SourceVotes, SourceVotes], float | None],
) -> dict[str, dict[str, float | None]]:
    return {
        name: {other: measure(a, b) for other, b in sources.items()} for name, a in sources.items()
    }


def _shared(a: SourceVotes, b: SourceVotes) -> tuple[np.ndarray, np.ndarray]:
    both = a.has_vote & b.has_vote
    return a.top_class[both], b.top_class[both]


def _agreement(a: SourceVotes, b: SourceVotes) -> float | None:
    """Return the fraction of shared clips with equal votes; null below MIN_SHARED_CLIPS."""
    ours, theirs = _shared(a, b)
    return round(float((ours == theirs).mean()), 6) if len(ours) >= MIN_SHARED_CLIPS else None


def _kappa(a: SourceVotes, b: SourceVotes) -> float | None:
    """Return Cohen's kappa, agreement beyond chance; null where it is undefined."""
    ours, theirs = _shared(a, b)
    if len(ours) < MIN_SHARED_CLIPS or len(set(ours.tolist()) | set(theirs.tolist())) < 2:
        return None
    return round(float(cohen_kappa_score(ours, theirs)), 6)


def _confusion(
    source: SourceVotes, voted: Sequence[Label], classes: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Estimate the confusion matrix of a source, each row a distribution over its votes.

    The refined label counts as the true class.
    """
    pairs = [
        (classes.index(label.label), int(top_class))
        for label, top_class in zip(voted, source.top_class, strict=True)
        if top_class >= 0 and label.label and label.weight > 0
    ]
    if not pairs:
        return {}
    truth, predicted = zip(*pairs, strict=True)
    matrix = confusion_matrix(truth, predicted, labels=range(len(classes)))
    return {
        name: {
            other: round(float(fraction), 6)
            for other, fraction in zip(classes, counts / counts.sum(), strict=True)
            if fraction
        }
        for name, counts in zip(classes, matrix, strict=True)
        if counts.sum()
    }
