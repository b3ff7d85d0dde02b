"""The baselines of an evaluation see no test label, and score what they are named after."""

from dataclasses import replace

import numpy as np
import pytest
from corpus import CLASSES, make_corpus
from trainings import PARAMS, evaluate, train

from ecmf.evaluation.baselines import SourceDecisions

ONE_SEED = PARAMS.model_copy(update={"seeds": (0,), "epochs": 2})
pytestmark = pytest.mark.usefixtures("one_worker")


@pytest.mark.parametrize("test_split", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_two_sources_that_separate_two_of_three_classes_beat_one_and_one_beats_a_class(
    test_split, tmp_path
):
    corpus = make_corpus(tmp_path, test_split=test_split)
    train(corpus, tmp_path, ONE_SEED)
    report = evaluate(corpus, tmp_path)
    found = report["baselines"]
    assert list(found) == ["majority", "source", "product"]
    assert found["source"]["name"] in ("face/mine", "audio/mine")
    assert found["majority"]["waf"] < 0.4 < found["source"]["waf"] < found["product"]["waf"]
    for each in found.values():
        assert each["waf_low"] <= each["waf"] <= each["waf_high"]
        assert each["lead"] == pytest.approx(report["test"]["waf"] - each["waf"])
        assert each["lead_low"] <= each["lead"] <= each["lead_high"]


def test_other_test_labels_change_scores_but_no_decision_of_a_baseline(tmp_path, monkeypatch):
    decided = []
    monkeypatch.setattr(
        "ecmf.evaluation.baselines.compare_with",
        lambda baselines, *_: decided.append(baselines) or {"source": {}},
    )
    corpus = make_corpus(tmp_path)
    train(corpus, tmp_path, ONE_SEED)
    evaluate(corpus, tmp_path)
    other = make_corpus(tmp_path, change=other_test_label)
    evaluate(other, tmp_path)
    first, second = decided
    assert all((first[kind] == second[kind]).all() for kind in ("majority", "source", "product"))


def other_test_label(clip):
    """Give a test clip the class after its own."""
    if clip.split != "test":
        return clip
    return replace(clip, label=CLASSES[(CLASSES.index(clip.label) + 1) % 3])


def test_without_validation_clips_no_source_is_called_the_best(tmp_path):
    corpus = make_corpus(tmp_path)
    train(corpus, tmp_path, ONE_SEED.model_copy(update={"folds": 0}))
    assert list(evaluate(corpus, tmp_path)["baselines"]) == ["majority", "product"]


def test_a_clip_without_a_source_is_decided_by_the_others_and_without_any_by_the_majority():
    tested = np.array([
        [[0.9, 0.1], [0.2, 0.8]],
        [[0.0, 0.0], [0.8, 0.2]],
        [[0.0, 0.0], [0.0, 0.0]],
    ])  # fmt: skip
    decisions = SourceDecisions(tested, tested, np.array([[1.0, 2.0]] * 3))
    assert decisions.of_source(0).tolist() == [0, 1, 1]
    assert decisions.product.tolist() == [0, 0, 1]
    assert decisions.best_source(np.array([1, 0, -1])) == 1
    assert decisions.best_source(np.array([-1, -1, -1])) is None
