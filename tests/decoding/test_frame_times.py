import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ecmf.decoding.frame_times import Timeline


def timeline(pts: list[int], last_duration: float = 0.04) -> Timeline:
    return Timeline(np.array(pts, "int64"), 0.04, last_duration)


def test_times_count_from_the_first_frame_and_the_last_one_adds_its_duration() -> None:
    line = timeline([10, 11, 12], last_duration=0.5)
    assert line.times.tolist() == [0.0, 0.04, 0.08]
    assert line.seconds == 0.58


def test_a_held_frame_is_chosen_once() -> None:
    assert timeline([0, 1, 2, 60, 90]).sample_uniformly(4).tolist() == [2, 3]


def test_frames_that_share_a_timestamp_are_counted() -> None:
    assert timeline([0, 1, 1, 1, 2]).duplicates == 2


@given(st.integers(1, 200), st.integers(1, 40))
def test_as_many_evenly_spaced_frames_are_chosen_as_requested(frames: int, count: int) -> None:
    chosen = timeline(list(range(frames))).sample_uniformly(count)
    assert len(chosen) == min(frames, count)


@given(st.lists(st.integers(0, 1000), min_size=1), st.integers(1, 40))
def test_chosen_frames_exist_and_ascend(pts: list[int], count: int) -> None:
    chosen = timeline(sorted(pts)).sample_uniformly(count)
    assert (np.diff(chosen) > 0).all()
    assert 0 <= chosen[0] <= chosen[-1] < len(pts)
