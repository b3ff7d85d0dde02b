"""The summary that `make repro` prints at its end."""

import json

import pytest

from ecmf.cli import scores
from ecmf.errors import MissingFileError

SPLIT = {"waf": 0.9, "waf_low": 0.8, "waf_high": 0.95, "accuracy": 0.9, "uar": 0.9,
         "macro_f1": 0.9, "clips": 60, "f1": {"sad": 0.75},
         "waf_by_seed": {"0": 0.911}}  # fmt: skip
REPORT = {"protocol": "test split", "test": SPLIT, "val": SPLIT}
AUDIT = {"decisions": {"kept": 197, "relabelled": 43}, "added": 12}


def test_scores_come_with_the_decisions_on_labels(tmp_path):
    evaluation, labels = tmp_path / "evaluation.json", tmp_path / "labels.json"
    evaluation.write_text(json.dumps(REPORT))
    labels.write_text(json.dumps(AUDIT))
    printed = scores.scores(evaluation, labels)
    assert "test   0.900  0.800 to 0.950" in printed and "test F1: sad 0.75" in printed
    assert "197 kept, 43 relabelled, 12 unlabelled clips added" in printed


def test_missing_scores_are_an_error_that_names_the_command(tmp_path):
    with pytest.raises(MissingFileError, match="run `dvc repro`"):
        scores.scores(tmp_path / "evaluation.json", tmp_path / "labels.json")
