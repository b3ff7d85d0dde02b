"""From the audit anyone can read what was done to which label, and on whose word."""

import base64
import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest

from audit_labels import audit_labels
from ecmf.data.label_table import Label, given_label, write_labels
from ecmf.data.manifest import Clip, write_manifest
from ecmf.errors import MissingFileError
from ecmf.params import AuditLabels
from ecmf.refinement.audit_metrics import audit
from ecmf.refinement.audit_page import most_contested, page
from ecmf.refinement.base import Opinion
from ecmf.refinement.decision_rules import decide
from ecmf.refinement.vote_table import Votes, read_votes, write_votes
from ecmf.storage.jpeg import encode_jpeg
from ecmf.storage.store import Layout, Rows, Store, no_rows
from ecmf.storage.store_writer import StoreWriter

CLASSES = ("angry", "happy", "sad")
FRAMES = Layout(jpeg=True)


def shares(*said):
    return np.array([np.eye(3)[CLASSES.index(one)] if one else np.zeros(3) for one in said])


GIVEN = ("angry", "angry", "happy", "sad", "")
VOTES = Votes(
    ["a", "b", "c", "d", "e"],
    {
        "given": Opinion("given", shares(*GIVEN)),
        "llm": Opinion("llm", shares("angry", "happy", "happy", "", "sad"), {"answered_by": ["m"]}),
        "fusion": Opinion("out_of_fold", shares("angry", "happy", "happy", "angry", "sad")),
    },
    [{"added": 1, "waf": 0.5, "kept": True}],
)
LABELS = [
    Label("a", "angry", (1, 0, 0), 1.0, "kept"),
    Label("b", "happy", (0, 1, 0), 1.0, "relabelled", "happy 0.67 against angry 0.33"),
    Label("c", "happy", (0, 1, 0), 1.0, "kept"),
    Label("d", "sad", (0, 0, 1), 0.0, "dropped"),
    Label("e", "sad", (0, 0, 1), 0.5, "added"),
    given_label("t", "sad", CLASSES, "untouched"),
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


def test_agreement_and_kappa_are_of_the_clips_both_speak_of():
    report = audit(LABELS, VOTES, CLASSES)
    assert report["agreement"]["given"]["llm"] == pytest.approx(2 / 3, abs=1e-5)
    assert report["agreement"]["llm"]["fusion"] == report["kappa"]["llm"]["fusion"] == 1
    # given and llm on a, b, c: chance is 2/3 x 1/3 + 1/3 x 2/3 = 4/9
    assert report["kappa"]["given"]["llm"] == pytest.approx((2 / 3 - 4 / 9) / (5 / 9), abs=1e-5)


def test_what_a_source_says_of_each_class_is_estimated_from_the_labels_learned():
    confusion = audit(LABELS, VOTES, CLASSES)["confusion"]
    assert confusion["given"] == {"angry": {"angry": 1.0}, "happy": {"angry": 0.5, "happy": 0.5}}
    assert confusion["fusion"]["sad"] == {"sad": 1.0}  # d is dropped, so only e counts


def test_votes_come_back_as_they_were_written(tmp_path):
    write_votes(VOTES, CLASSES, tmp_path / "votes.csv", tmp_path / "sources.json")
    read = read_votes(tmp_path / "votes.csv", tmp_path / "sources.json")
    assert (read.clip_ids, read.rounds) == (VOTES.clip_ids, VOTES.rounds)
    for name, one in VOTES.opinions.items():
        assert (read.opinions[name].kind, read.opinions[name].provenance) == (
            one.kind,
            one.provenance,
        )
        assert (read.opinions[name].shares == one.shares).all()


def test_missing_votes_say_how_to_make_them(tmp_path):
    with pytest.raises(MissingFileError, match="dvc repro refine_labels"):
        read_votes(tmp_path / "votes.csv", tmp_path / "sources.json")


# --- the page ---------------------------------------------------------------------------------

CLIPS = [
    Clip("a", "v", group="a", label="angry", transcript="Fine.", split="train"),
    Clip("b", "v", group="b", label="angry", transcript="<script>alert('x')</script>"),
    Clip("c", "v", group="c", label="happy"),
    Clip("d", "v", group="d", label="sad"),
    Clip("e", "v", group="e", split="unlabelled"),
    Clip("t", "v", group="t", label="sad", split="test", transcript="secret"),
]


@pytest.fixture
def frames(tmp_path):
    with StoreWriter(tmp_path / "frames.h5", FRAMES, {}) as out:
        for number, clip in enumerate(CLIPS):
            if clip.clip_id == "d":
                out.append("d", no_rows(FRAMES, "empty", "no video stream"))
                continue
            pictures = [np.full((240, 320, 3), 40 * number, "uint8")] * 5
            out.append(
                clip.clip_id, Rows([encode_jpeg(one, 90) for one in pictures], np.arange(5.0))
            )
    return tmp_path / "frames.h5"


def test_the_clips_most_in_doubt_come_first():
    found = most_contested(CLIPS, LABELS, VOTES.clip_ids, VOTES.opinions, 2)
    assert [one.clip.clip_id for one in found] == ["d", "b"]
    assert found[0].doubt == pytest.approx(np.log(2))
    assert [
        one.clip.clip_id for one in most_contested(CLIPS, LABELS, VOTES.clip_ids, VOTES.opinions, 9)
    ][-1] == "e"


def test_the_page_shows_frames_words_and_every_voice(frames):
    found = most_contested(CLIPS, LABELS, VOTES.clip_ids, VOTES.opinions, 2)
    with Store(frames) as store:
        shown = page(found, CLASSES, store, 3)
    assert "b: given angry, relabelled as happy" in shown
    assert "happy 0.67 against angry 0.33" in shown
    assert "no frames: no video stream" in shown
    pictures = re.findall(r"base64,([^\"]+)", shown)
    assert len(pictures) == 3
    image = cv2.imdecode(np.frombuffer(base64.b64decode(pictures[0]), "uint8"), cv2.IMREAD_COLOR)
    assert image.shape == (96, 128, 3)


def test_what_is_said_in_a_clip_cannot_run_on_the_page(frames):
    found = most_contested(CLIPS, LABELS, VOTES.clip_ids, VOTES.opinions, 9)
    with Store(frames) as store:
        shown = page(found, CLASSES, store, 1)
    assert "<script" not in shown and "&lt;script&gt;" in shown


def test_the_stage_shows_nothing_of_the_test_split_and_repeats_its_bytes(frames, tmp_path):
    write_manifest(CLIPS, tmp_path / "manifest.csv")
    labels = [replace(label, soft=tuple(map(float, label.soft))) for label in LABELS]
    write_labels(labels, CLASSES, tmp_path / "labels.csv")
    write_votes(VOTES, CLASSES, tmp_path / "votes.csv", tmp_path / "sources.json")
    made = []
    for name in ("one", "two"):
        outputs = tmp_path / f"{name}.json", tmp_path / f"{name}.html"
        audit_labels(
            tmp_path / "manifest.csv", frames, tmp_path / "labels.csv", tmp_path / "votes.csv",
            tmp_path / "sources.json", *outputs, AuditLabels.model_validate({}),
        )  # fmt: skip
        made.append([path.read_bytes() for path in outputs])
    assert made[0] == made[1]
    assert b"secret" not in made[0][1] and b"<h2>t:" not in made[0][1]
    assert json.loads(made[0][0])["decisions"]["relabelled"] == 1


def test_a_decision_says_why_in_the_words_the_page_shows():
    (made,) = decide(shares("angry"), np.array([[0.1, 0.9, 0.0]]), CLASSES, "relabel", 0.0)
    assert made.reason == "happy 0.90 against angry 0.10"
