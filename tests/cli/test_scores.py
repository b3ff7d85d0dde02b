"""The summary that `make repro` prints at its end."""

import json
from pathlib import Path

import pytest

from ecmf.cli import scores
from ecmf.errors import MissingFileError
from ecmf.storage.files import sha256

SPLIT = {"waf": 0.9, "waf_low": 0.8, "waf_high": 0.95, "macro_f1": 0.87, "uar": 0.88,
         "accuracy": 0.89, "f1": {"sad": 0.75}, "clips": 60}  # fmt: skip
REPORT = {"test": SPLIT, "val": {"waf": 0.9}}
DETAILS = {
    "corpus": {
        "name": "mine",
        "clips": 300,
        "manifest_sha256": "0",
        "warnings": [],
        "test_clips_by_class": {"sad": 60},
    },
    "protocol": "test split",
    "test": {"groups": 4, "valence_clips": 58, "valence_mse": 0.5, "waf_by_seed": {"0": 0.911}},
    "val": {name: score for name, score in SPLIT.items() if name != "waf"} | {"clips": 40},
    "members": {"concat": {"waf": 0.85}, "ecmf": {"waf": 0.86}},
    "left_out": {"concat": {}, "ecmf": {"frame/motion": [0], "face/mine": [0, 2]}},
    "sources": {
        "audio/mine": {"difference": 0.1, "low": 0.05, "high": 0.2},
        "text/raw": {"difference": 0.01, "low": -0.02, "high": 0.03},
    },
}
AUDIT = {"decisions": {"kept": 197, "relabelled": 43}, "added": 12}


MANIFEST = Path("mine.csv")


@pytest.fixture
def reports(tmp_path):
    paths = [tmp_path / f"{name}.json" for name in ("evaluation", "details", "labels")]
    for path, content in zip(paths, (REPORT, DETAILS, AUDIT), strict=True):
        path.write_text(json.dumps(content))
    return paths


def test_scores_come_with_the_decisions_on_labels(reports):
    lines = scores.scores(*reports, MANIFEST).splitlines()
    assert lines[0].split() == [
        "WAF", "95", "%", "interval", "macro", "F1", "UAR", "accuracy", "clips"
    ]  # fmt: skip
    assert lines[1].split() == [
        "test",
        "0.900",
        "0.800",
        "to",
        "0.950",
        "0.870",
        "0.880",
        "0.890",
        "60",
    ]
    assert lines[2].split()[-1] == "40" and "test F1: sad 0.75" in lines
    assert "test WAF by seed: 0.911 (test split)" in lines
    assert "test WAF of each member alone: concat 0.850, ecmf 0.860" in lines
    assert any("over 4 groups" in line and "fewer than 8" in line for line in lines)
    left_out = [line for line in lines if "leaves out" in line]
    assert left_out == [
        "ecmf leaves out, for lack of weight on validation clips: frame/motion, "
        "face/mine (in 2 test folds)"
    ]
    assert "not shown to help on validation clips: text/raw" in lines
    assert "test, further: valence_clips 58, valence_mse 0.500" in lines
    assert "197 kept, 43 relabelled, 12 unlabelled clips added" in lines[-1]


def test_scores_of_another_task_are_shown_by_their_own_names(reports):
    scored = {"ccc": 0.61, "ccc_low": 0.5, "ccc_high": 0.7, "mae": 0.4, "clips": 60}
    reports[0].write_text(json.dumps({"test": scored}))
    reports[1].write_text(
        json.dumps(DETAILS | {"members": {}, "test": {"groups": 60, "ccc_by_seed": {"0": 0.6}}})
    )
    lines = scores.scores(*reports, MANIFEST).splitlines()
    assert lines[0].split() == ["ccc", "95", "%", "interval", "mae", "clips"]
    assert lines[1].split() == ["test", "0.610", "0.500", "to", "0.700", "0.400", "60"]


def test_missing_scores_are_an_error_that_names_the_command(tmp_path):
    absent = tmp_path / "evaluation.json"
    with pytest.raises(MissingFileError, match="run `dvc repro`"):
        scores.scores(absent, absent, absent, MANIFEST)


def test_what_the_numbers_do_not_show_is_said_below_them(reports):
    test = SPLIT | {"f1": {"sad": 0.9, "fear": 0.0, "joy": 0.0}, "clips": 12}
    corpus = DETAILS["corpus"] | {
        "test_clips_by_class": {"sad": 9, "fear": 3}, "warnings": ["class 'joy' has no test clip"]
    }  # fmt: skip
    reports[0].write_text(json.dumps(REPORT | {"test": test}))
    reports[1].write_text(json.dumps(DETAILS | {"corpus": corpus}))
    text = scores.scores(*reports, MANIFEST)
    assert "warning: none of the 3 test clips of class 'fear' was recognised (F1 0)\n" in text
    assert (
        "warning: with 12 test clips, one more right or wrong changes the accuracy by 0.083" in text
    )
    assert "warning: class 'joy' has no test clip\n" in text
    assert "class 'joy' was" not in text


def test_scores_of_another_corpus_or_another_manifest_are_refused(reports, tmp_path):
    with pytest.raises(MissingFileError, match=r"300 clips of the corpus 'mine', and params"):
        scores.scores(*reports, Path("data/manifests/yours.csv"))
    (tmp_path / "mine.csv").write_text("clip_id\n")
    with pytest.raises(MissingFileError, match=r"mine\.csv has changed since then: run `dvc"):
        scores.scores(*reports, tmp_path / "mine.csv")
    corpus = DETAILS["corpus"] | {"manifest_sha256": sha256(tmp_path / "mine.csv")}
    reports[1].write_text(json.dumps(DETAILS | {"corpus": corpus}))
    assert scores.scores(*reports, tmp_path / "mine.csv")
    reports[1].write_text(json.dumps({name: DETAILS[name] for name in DETAILS if name != "corpus"}))
    with pytest.raises(MissingFileError, match="names no corpus"):
        scores.scores(*reports, tmp_path / "mine.csv")
