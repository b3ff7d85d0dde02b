import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from ecmf.metrics import (
    bootstrap_waf,
    compute_metrics,
    group_numbers,
    scores_of_confusion,
    waf_of_confusion,
    weighted_f1,
)

pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


@settings(deadline=None)
@given(pairs)
def test_waf_equals_that_of_scikit_learn_to_the_last_bit(clips):
    truth, predicted = np.array(clips).T
    expected = f1_score(truth, predicted, average="weighted", zero_division=0)
    assert weighted_f1(truth, predicted) == expected
    assert compute_metrics(truth, predicted, [""] * len(truth), "abcd", 10, 0)["waf"] == expected


@settings(deadline=None)
@given(pairs)
def test_waf_of_a_confusion_matrix_equals_that_of_its_clips(clips):
    truth, predicted = np.array(clips).T
    cells = np.zeros((4, 4), int)
    np.add.at(cells, (truth, predicted), 1)
    assert waf_of_confusion(cells) == pytest.approx(weighted_f1(truth, predicted))


@settings(deadline=None)
@given(pairs)
def test_scores_of_a_confusion_matrix_equal_those_of_its_clips(clips):
    truth, predicted = np.array(clips).T
    cells = np.zeros((4, 4), int)
    np.add.at(cells, (truth, predicted), 1)
    report = compute_metrics(truth, predicted, [""] * len(truth), "abcd", 1, 0)
    for name, score in scores_of_confusion(cells).items():
        assert score == pytest.approx(report[name]), name


def test_the_interval_equals_that_of_resampled_clips():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 80)
    predicted = np.where(rng.random(80) < 0.7, truth, rng.integers(0, 3, 80))
    fast = bootstrap_waf(truth, predicted, [""] * 80, 3, 4000, seed=1)
    drawn = rng.integers(0, 80, (1000, 80))
    slow = [weighted_f1(truth[i], predicted[i]) for i in drawn]
    assert np.percentile(fast, [2.5, 50, 97.5]) == pytest.approx(
        np.percentile(slow, [2.5, 50, 97.5]), abs=0.02
    )


def test_the_interval_over_groups_equals_that_of_resampled_groups_and_is_wider():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(10), 12)
    truth = rng.integers(0, 3, 120)
    right = rng.random(120) < np.repeat(rng.uniform(0.2, 1, 10), 12)  # speakers differ
    predicted = np.where(right, truth, (truth + 1) % 3)
    names = [f"s{group}" for group in groups]
    fast = bootstrap_waf(truth, predicted, names, 3, 4000, seed=1)
    drawn = [
        np.concatenate([np.flatnonzero(groups == group) for group in rng.integers(0, 10, 10)])
        for _ in range(1000)
    ]
    slow = [weighted_f1(truth[i], predicted[i]) for i in drawn]
    bounds = np.percentile(fast, [2.5, 97.5])
    assert bounds == pytest.approx(np.percentile(slow, [2.5, 97.5]), abs=0.03)
    over_clips = bootstrap_waf(truth, predicted, [""] * 120, 3, 4000, seed=1)
    assert np.ptp(bounds) > 1.4 * np.ptp(np.percentile(over_clips, [2.5, 97.5]))


def test_a_clip_without_a_group_is_a_group_of_its_own():
    assert group_numbers(["b", "", "a", "b", ""]).tolist() == [1, 2, 0, 1, 3]


def test_the_interval_contains_the_score_and_shrinks_with_more_clips():
    truth = np.tile([0, 1, 2], 20)
    predicted = np.where(np.arange(60) % 5 == 0, 0, truth)
    few = compute_metrics(truth, predicted, [""] * 60, "abc", 1000, 0)
    twenty = np.tile(truth, 20), np.tile(predicted, 20)
    many = compute_metrics(*twenty, [""] * 1200, "abc", 1000, 0)
    assert few["waf_low"] < few["waf"] < few["waf_high"]
    assert many["waf_high"] - many["waf_low"] < (few["waf_high"] - few["waf_low"]) / 3


def test_averages_leave_out_a_class_without_clips():
    report = compute_metrics(np.array([0, 0, 1]), np.array([0, 0, 1]), ["", "", ""], "abc", 10, 0)
    assert report["uar"] == report["macro_f1"] == 1
    assert report["f1"]["c"] == 0
