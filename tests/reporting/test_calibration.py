"""Calibration compares confidence with accuracy, bin by bin."""

import numpy as np
import pytest

from ecmf.reporting.calibration import calibration_error, reliability


def test_each_bin_has_its_clips_their_mean_confidence_and_accuracy():
    bins = reliability(np.array([0.45, 0.5, 1.0, 0.05]), np.array([True, False, True, False]))
    assert [(each.clips, each.accuracy) for each in bins] == [(1, 0.0), (2, 0.5), (1, 1.0)]
    assert [each.confidence for each in bins] == pytest.approx([0.05, 0.475, 1.0])
    assert (bins[1].low, bins[1].high) == pytest.approx((0.4, 0.5))


def test_the_error_is_the_gap_weighted_by_the_clips_of_each_bin():
    confidence = np.array([0.9, 0.9, 0.9, 0.7])
    bins = reliability(confidence, np.array([True, True, False, True]))
    assert calibration_error(bins) == pytest.approx(3 / 4 * abs(2 / 3 - 0.9) + 1 / 4 * 0.3)


def test_a_model_as_often_right_as_it_is_confident_has_no_error():
    right = np.arange(1000) < 800
    assert calibration_error(reliability(np.full(1000, 0.8), right)) == pytest.approx(0)
