"""Labels and votes -> the numbers anyone may ask for: what was done to whom, and on whose word."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from ecmf.data.label_table import Label
from ecmf.refinement.base import Opinion
from ecmf.refinement.vote_table import Votes

AGAINST_THE_LABEL = ("dropped", "weighed_down")
"""Decisions that leave a label where it was and believe it less."""

FEWEST_SHARED = 2
"""Clips both of two sources must speak of before their agreement is worth a number."""


def audit(labels: Sequence[Label], votes: Votes, classes: Sequence[str]) -> dict[str, Any]:
    """Count and compare, ready for JSON; only clips the sources were asked about are looked at."""
    made = {label.clip_id: label for label in labels}
    asked = [made[clip_id] for clip_id in votes.clip_ids]
    given = votes.opinions["given"]
    training = [label for label, known in zip(asked, given.speaks, strict=True) if known]
    added = [label for label in asked if label.decision == "added"]
    before = [classes[said] for said in given.said if said >= 0]
    return {
        "clips": len(training),
        "changed": sum(not _same(label, was) for label, was in zip(training, before, strict=True)),
        "decisions": _counts(label.decision for label in training),
        "added": len(added),
        "weight": round(sum(label.weight for label in [*training, *added]), 6),
        "classes": {name: _of_class(name, training, before, added) for name in classes},
        "sources": {
            name: _of_source(one, asked, given, classes) for name, one in votes.opinions.items()
        },
        "agreement": _pairs(votes.opinions, _agreement),
        "kappa": _pairs(votes.opinions, _kappa),
        "confusion": {
            name: _confusion(one, asked, classes) for name, one in votes.opinions.items()
        },
        "rounds": votes.rounds,
    }


def _same(label: Label, was: str) -> bool:
    return label.decision in ("kept", "trusted") and label.label == was


def _counts(decisions: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(decisions).items()))


def _of_class(
    name: str, training: Sequence[Label], before: Sequence[str], added: Sequence[Label]
) -> dict[str, Any]:
    """What became of the clips given as this class, and how many are learned as it now."""
    mine = [label for label, was in zip(training, before, strict=True) if was == name]
    return {
        "given": len(mine),
        "decisions": _counts(label.decision for label in mine),
        "taken_for": _counts(label.label for label in mine if label.label != name),
        "added": sum(label.label == name for label in added),
        "learned_as": sum(
            label.label == name and label.weight > 0 for label in [*training, *added]
        ),
    }


def _of_source(
    one: Opinion, asked: Sequence[Label], given: Opinion, classes: Sequence[str]
) -> dict[str, Any]:
    """How often a source spoke, and for each decision whether it was for it or against it.

    Who is for a label that was dropped or weighed down is against that.
    """
    voices: dict[str, Counter[str]] = {}
    for label, said in zip(asked, one.said, strict=True):
        if label.decision == "unlabelled":
            continue
        agrees = (classes[said] == label.label) != (label.decision in AGAINST_THE_LABEL)
        voice = "silent" if said < 0 else "for" if agrees else "against"
        voices.setdefault(label.decision, Counter())[voice] += 1
    return {
        "kind": one.kind,
        **one.provenance,
        "clips": int(one.speaks.sum()),
        "agrees_with_given": _agreement(one, given),
        "decisions": {
            name: dict(sorted(counts.items())) for name, counts in sorted(voices.items())
        },
    }


def _pairs(opinions: Mapping[str, Opinion], measure: Any) -> dict[str, dict[str, float | None]]:
    return {
        name: {other: measure(one, two) for other, two in opinions.items()}
        for name, one in opinions.items()
    }


def _shared(one: Opinion, two: Opinion) -> tuple[np.ndarray, np.ndarray]:
    both = one.speaks & two.speaks
    return one.said[both], two.said[both]


def _agreement(one: Opinion, two: Opinion) -> float | None:
    """Share of the clips both speak of that they say the same of; null if there are too few."""
    mine, theirs = _shared(one, two)
    return round(float((mine == theirs).mean()), 6) if len(mine) >= FEWEST_SHARED else None


def _kappa(one: Opinion, two: Opinion) -> float | None:
    """Cohen's kappa, agreement beyond chance; null where it is undefined."""
    mine, theirs = _shared(one, two)
    if len(mine) < FEWEST_SHARED or len(set(mine.tolist()) | set(theirs.tolist())) < 2:
        return None
    return round(float(cohen_kappa_score(mine, theirs)), 6)


def _confusion(
    one: Opinion, asked: Sequence[Label], classes: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Estimate what a source says of each class: shares of the clips decided to be of it."""
    rows = [
        (classes.index(label.label), int(said))
        for label, said in zip(asked, one.said, strict=True)
        if said >= 0 and label.label and label.weight > 0
    ]
    truth, said = zip(*rows, strict=True) if rows else ((), ())
    cells = confusion_matrix(truth, said, labels=range(len(classes))) if rows else None
    found: dict[str, dict[str, float]] = {}
    for number, name in enumerate(classes):
        if cells is None or not cells[number].sum():
            continue
        shares = cells[number] / cells[number].sum()
        found[name] = {
            other: round(float(x), 6) for other, x in zip(classes, shares, strict=True) if x
        }
    return found
