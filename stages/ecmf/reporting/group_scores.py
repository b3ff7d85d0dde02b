"""Score the test clips of each speaker, language and group, and those that lack a source."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ecmf.metrics import weighted_f1
from ecmf.reporting.results import Results

MOST_GROUPS = 40
"""Groups of one kind that are listed, those with the lowest score first."""


class GroupScore(NamedTuple):
    """The WAF of the test clips of a group, how many are predicted right, and of how many."""

    name: str
    waf: float
    right: int
    clips: int


class GroupTable(NamedTuple):
    """The groups of one kind with the lowest scores, and how many there are."""

    kind: str
    scores: Sequence[GroupScore]
    total: int


def group_tables(results: Results, missing: Mapping[str, Sequence[str]]) -> list[GroupTable]:
    """Score the test clips by every property that divides them, but not into single clips.

    `missing` lists what is missing of each clip, by its id. Groups that are the speakers are left
    out.
    """
    clips = [results.clips[i] for i in results.test]
    kinds = {
        "speaker": [clip.speaker for clip in clips],
        "group": [clip.group for clip in clips],
        "language": [clip.language for clip in clips],
        "missing": [", ".join(missing[clip.clip_id]) or "nothing" for clip in clips],
    }
    if kinds["group"] == kinds["speaker"]:
        del kinds["group"]
    tables = [_table(results, kind, values) for kind, values in kinds.items()]
    return [table for table in tables if 1 < table.total < len(clips)]


def _table(results: Results, kind: str, values: Sequence[str]) -> GroupTable:
    truth, predicted = results.truth, results.predicted[results.test]
    members = np.array(values, dtype=object)
    scores = []
    for name in sorted(set(values)):
        chosen = members == name
        right = int((truth[chosen] == predicted[chosen]).sum())
        waf = weighted_f1(truth[chosen], predicted[chosen])
        scores.append(GroupScore(name or "unknown", waf, right, int(chosen.sum())))
    scores.sort(key=lambda score: (score.waf, score.name))
    return GroupTable(kind, scores[:MOST_GROUPS], len(scores))
