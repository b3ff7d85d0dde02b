"""The audit reports every decision on a label, and the sources for and against it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from audit_labels import audit_labels
from ecmf.data.label_table import Label, hard_label, write_labels
from ecmf.data.manifest import Clip, write_manifest
from ecmf.errors import MissingFileError
from ecmf.refinement.audit_metrics import audit
from ecmf.refinement.base import SourceVotes
from ecmf.refinement.decision_rules import decide
from ecmf.refinement.uncertain_clips import most_uncertain_clips
from ecmf.refinement.vote_table import VoteTable, read_votes, write_votes

CLASSES = ("angry", "happy", "sad")


def one_hot(*labels):
    return np.array([np.eye(3)[CLASSES.index(name)] if name else np.zeros(3) for name in labels])


GIVEN = ("angry", "angry", "happy", "sad", "")
VOTES = VoteTable(
    ["a", "b", "c", "d", "e"],
    {
        "given": SourceVotes("given", one_hot(*GIVEN)),
        "llm": SourceVotes(
            "llm", one_hot("angry", "happy", "happy", "", "sad"), {"answered_by": ["m"]}
        ),
        "fusion": SourceVotes("out_of_fold", one_hot("angry", "happy", "happy", "angry", "sad")),
    },
    [{"added": 1, "waf": 0.5, "kept": True}],
)
LABELS = [
    Label("a", "angry", (1, 0, 0), 1.0, "kept"),
    Label("b", "happy", (0, 1, 0), 1.0, "relabelled", "happy 0.67 against angry 0.33"),
    Label("c", "happy", (0, 1, 0), 1.0, "kept"),
    Label("d", "sad", (0, 0, 1), 0.0, "dropped"),
    Label("e", "sad", (0, 0, 1), 0.5, "added"),
    hard_label("t", "sad", CLASSES, "untouched"),
]


def test_decisions_are_counted_per_class_and_per_source():
    report = audit(LABELS, VOTES, CLASSES)
    assert report["clips"] == 4
    assert report["decisions"] == {"dropped": 1, "kept": 2, "relabelled": 1}
    assert (report["changed"], report["added"], report["weight"]) == (2, 1, 3.5)
    assert report["classes"]["angry"] == {
        "given": 2, "decisions": {"kept": 1, "relabelled": 1}, "taken_for": {"happy": 1},
        "added": 0, "learned_as": 1,
    }  # fmt: skip
    assert report["classes"]["sad"]["added"] == report["classes"]["sad"]["learned_as"] == 1
    assert report["sources"]["fusion"]["decisions"] == {
        "added": {"for": 1}, "dropped": {"for": 1},
        "kept": {"for": 2}, "relabelled": {"for": 1},
    }  # fmt: skip
    assert report["sources"]["given"]["decisions"]["relabelled"] == {"against": 1}
    assert report["sources"]["given"]["decisions"]["dropped"] == {"against": 1}
    assert report["sources"]["llm"]["decisions"]["dropped"] == {"silent": 1}
    assert report["sources"]["llm"]["answered_by"] == ["m"]
    assert report["rounds"] == VOTES.rounds


def test_agreement_and_kappa_are_of_the_clips_both_vote_on():
    report = audit(LABELS, VOTES, CLASSES)
    assert report["agreement"]["given"]["llm"] == pytest.approx(2 / 3, abs=1e-5)
    assert report["agreement"]["llm"]["fusion"] == report["kappa"]["llm"]["fusion"] == 1
    # given and llm on a, b, c: chance is 2/3 x 1/3 + 1/3 x 2/3 = 4/9
    assert report["kappa"]["given"]["llm"] == pytest.approx((2 / 3 - 4 / 9) / (5 / 9), abs=1e-5)


def test_the_confusion_of_a_source_is_estimated_from_the_refined_labels():
    confusion = audit(LABELS, VOTES, CLASSES)["confusion"]
    assert confusion["given"] == {"angry": {"angry": 1.0}, "happy": {"angry": 0.5, "happy": 0.5}}
    assert confusion["fusion"]["sad"] == {"sad": 1.0}  # d is dropped, so only e counts


def test_votes_come_back_as_they_were_written(tmp_path):
    write_votes(VOTES, CLASSES, tmp_path / "votes.csv", tmp_path / "sources.json")
    read = read_votes(tmp_path / "votes.csv", tmp_path / "sources.json")
    assert (read.clip_ids, read.rounds) == (VOTES.clip_ids, VOTES.rounds)
    for name, source in VOTES.sources.items():
        again = read.sources[name]
        assert (again.kind, again.provenance) == (source.kind, source.provenance)
        assert (again.probs == source.probs).all()


def test_a_message_about_missing_votes_names_the_stage(tmp_path):
    with pytest.raises(MissingFileError, match="dvc repro refine_labels"):
        read_votes(tmp_path / "votes.csv", tmp_path / "sources.json")


# --- the most uncertain clips --------------------------------------------------------------------

CLIPS = [
    Clip("a", "v", group="a", label="angry", transcript="Fine.", split="train"),
    Clip("b", "v", group="b", label="angry", transcript="<script>alert('x')</script>"),
    Clip("c", "v", group="c", label="happy"),
    Clip("d", "v", group="d", label="sad"),
    Clip("e", "v", group="e", split="unlabelled"),
    Clip("t", "v", group="t", label="sad", split="test", transcript="secret"),
]


def test_the_most_uncertain_clips_come_first_and_none_of_the_test_split():
    uncertain = most_uncertain_clips(CLIPS, LABELS, VOTES.clip_ids, VOTES.sources)
    assert [one.clip.clip_id for one in uncertain] == ["d", "b", "a", "c", "e"]
    assert uncertain[0].entropy == pytest.approx(np.log(2))


def test_the_stage_repeats_its_bytes(tmp_path):
    write_manifest(CLIPS, tmp_path / "manifest.csv")
    labels = [replace(label, soft=tuple(map(float, label.soft))) for label in LABELS]
    write_labels(labels, CLASSES, tmp_path / "labels.csv")
    write_votes(VOTES, CLASSES, tmp_path / "votes.csv", tmp_path / "sources.json")
    names = ("manifest.csv", "labels.csv", "votes.csv", "sources.json")
    for name in ("one.json", "two.json"):
        audit_labels(*(tmp_path / each for each in (*names, name)))
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    assert json.loads((tmp_path / "one.json").read_text())["decisions"]["relabelled"] == 1


def test_a_decision_has_the_reason_that_the_page_shows():
    (decision,) = decide(one_hot("angry"), np.array([[0.1, 0.9, 0.0]]), CLASSES, "relabel", 0.0)
    assert decision.reason == "happy 0.90 against angry 0.10"
