import pytest

from ecmf.cutting.utterances import divide_at_cuts, pad


def test_speech_is_divided_at_the_shot_cuts_in_it() -> None:
    assert divide_at_cuts([(1.0, 5.0), (6.0, 7.0)], [0.2, 3.0, 5.5, 8.0], 0.5) == [
        (1.0, 3.0),
        (3.0, 5.0),
        (6.0, 7.0),
    ]


def test_a_cut_that_would_leave_a_part_below_the_shortest_divides_nothing() -> None:
    assert divide_at_cuts([(1.0, 2.0)], [1.2, 1.8], 0.5) == [(1.0, 2.0)]


def test_padding_stays_in_the_shot_and_in_the_recording_and_off_the_neighbours() -> None:
    padded = pad([(0.05, 2.0), (2.1, 4.0), (5.0, 6.95)], [4.05], 0.2, 7.0)
    assert padded == [pytest.approx(p) for p in [(0.0, 2.05), (2.05, 4.05), (4.8, 7.0)]]
