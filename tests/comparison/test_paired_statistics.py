"""Paired statistics against plain formulas and published examples."""

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecmf.comparison.paired_statistics import bootstrap_p, holm, mcnemar, paired_differences
from ecmf.metrics import compute_metrics


def predictions(rng, truth, share):
    """Return predictions of which `share` are right, per clip."""
    return np.where(rng.random(len(truth)) < share, truth, (truth + 1) % 3)


@pytest.fixture
def speakers():
    """120 clips of 12 speakers, some of them hard for every model."""
    rng = np.random.default_rng(0)
    hard = np.repeat(rng.uniform(0.3, 0.95, 12), 10)
    truth = rng.integers(0, 3, 120)
    first = predictions(rng, truth, hard)
    second = np.where(rng.random(120) < 0.7, first, predictions(rng, truth, hard + 0.05))
    return truth, first, second, [f"s{number // 10}" for number in range(120)]


def test_values_are_those_of_the_evaluation(speakers):
    truth, first, second, groups = speakers
    ((scores, f1),) = paired_differences(truth, first, [second], groups, "abc")
    reports = [compute_metrics(truth, each, groups, "abc", 1, 0) for each in (first, second)]
    assert list(scores) == ["waf", "macro_f1", "uar", "accuracy"] and list(f1) == list("abc")
    for name, found in (*scores.items(), *f1.items()):
        expected = [report["f1"].get(name, report.get(name)) for report in reports]
        assert [found.baseline, found.other] == pytest.approx(expected)
        assert found.difference == pytest.approx(expected[1] - expected[0])


def plain_scores(truth, predicted):
    """Return WAF, macro F1, UAR, accuracy and the F1 of each class, by their definitions."""
    f1, recall, support = [], [], []
    for number in range(3):
        hits = ((truth == number) & (predicted == number)).sum()
        count, given = (truth == number).sum(), (predicted == number).sum()
        f1.append(2 * hits / max(1, count + given))
        recall.append(hits / max(1, count))
        support.append(count)
    present = [number for number in range(3) if support[number]]
    macro, uar = (np.mean([values[i] for i in present]) for values in (f1, recall))
    return np.array(
        [np.dot(f1, support) / len(truth), macro, uar, (truth == predicted).mean(), *f1]
    )


def test_intervals_equal_those_of_both_predictions_of_resampled_speakers(speakers):
    truth, first, second, groups = speakers
    ((scores, f1),) = paired_differences(truth, first, [second], groups, "abc")
    rng, slow = np.random.default_rng(1), []
    for _ in range(2000):
        clips = (rng.integers(0, 12, 12)[:, None] * 10 + np.arange(10)).ravel()
        one, two = (plain_scores(truth[clips], each[clips]) for each in (first, second))
        slow.append(two - one)
    expected = np.percentile(slow, [2.5, 97.5], axis=0).T
    for found, bounds in zip((*scores.values(), *f1.values()), expected, strict=True):
        assert [found.low, found.high] == pytest.approx(bounds, abs=0.015)


def test_what_makes_a_speaker_hard_cancels_out():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 400)
    hard = np.repeat(rng.uniform(0.1, 0.95, 20), 20)
    first = predictions(rng, truth, hard)
    second = first.copy()
    mended = np.flatnonzero(first != truth)[::5]
    second[mended] = truth[mended]
    groups = [str(number // 20) for number in range(400)]
    ((scores, _),) = paired_differences(truth, first, [second], groups, "abc")
    waf = scores["waf"]
    report = compute_metrics(truth, first, groups, "abc", 1000, 0)
    assert waf.sign == 1 and waf.p < 0.001
    assert waf.high - waf.low < (report["waf_high"] - report["waf_low"]) / 2


def test_equal_models_are_rarely_told_apart():
    rng, apart = np.random.default_rng(0), 0
    for _ in range(60):
        truth = rng.integers(0, 3, 90)
        pair = [predictions(rng, truth, 0.7) for _ in range(2)]
        groups = [str(number // 3) for number in range(90)]
        ((scores, _),) = paired_differences(truth, pair[0], pair[1:], groups, "abc", 400)
        apart += scores["waf"].sign != 0
    assert apart <= 8  # 3 are expected, and more than 8 in 0.3 % of such trials


def test_several_are_compared_as_each_alone(speakers):
    truth, first, second, groups = speakers
    alone = paired_differences(truth, first, [second], groups, "abc")
    both = paired_differences(truth, first, [first, second], groups, "abc")
    assert both[1] == alone[0]
    same = both[0][0]["waf"]
    assert (same.difference, same.low, same.high, same.p, same.sign) == (0, 0, 0, 1, 0)


def test_exchanging_both_exchanges_the_sign(speakers):
    truth, first, second, groups = speakers
    ((scores, _),) = paired_differences(truth, first, [second], groups, "abc")
    ((swapped, _),) = paired_differences(truth, second, [first], groups, "abc")
    assert swapped["waf"].low == pytest.approx(-scores["waf"].high)
    assert swapped["waf"].p == pytest.approx(scores["waf"].p)


def test_p_is_twice_the_smaller_tail_and_never_0():
    draws = np.linspace(-1, 99, 101)  # two are not above 0
    assert bootstrap_p(draws) == bootstrap_p(-draws) == pytest.approx(2 * 3 / 102)
    assert bootstrap_p(np.ones(9999)) == pytest.approx(0.0002)


@settings(deadline=None)
@given(st.integers(0, 12), st.integers(0, 12))
def test_mcnemar_sums_the_binomial_tails(gained, lost):
    truth = np.zeros(gained + lost + 3, int)
    baseline, other = truth.copy(), truth.copy()
    baseline[:gained] = 1
    other[gained : gained + lost] = 1
    both_wrong = slice(gained + lost, gained + lost + 2)
    baseline[both_wrong] = other[both_wrong] = 2
    changed = gained + lost
    tail = sum(comb(changed, k) for k in range(min(gained, lost) + 1)) / 2**changed
    found = mcnemar(truth, baseline, other)
    assert (found.gained, found.lost) == (gained, lost)
    assert found.p == pytest.approx(min(1, 2 * tail))


def test_holm_is_that_of_the_published_steps():
    # sorted: 4 * 0.005, 3 * 0.01, 2 * 0.03, 1 * 0.04; a later p is never below an earlier one
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.2]) == [0.2] and holm([]) == []
    assert holm([0.6, 0.5]) == [1.0, 1.0]
