from hypothesis import given
from hypothesis import strategies as st

from ecmf.cropping.base import Face
from ecmf.cropping.face_tracker import track_main_face


def face(x: float, y: float = 100.0, side: float = 80.0, score: float = 1.0) -> Face:
    """Return a square face by its centre."""
    return Face(x - side / 2, y - side / 2, x + side / 2, y + side / 2, score)


def centres(faces: list[Face | None]) -> list[float | None]:
    return [face and (face.left + face.right) / 2 for face in faces]


def test_a_clip_without_a_face_has_no_track() -> None:
    assert track_main_face([]) == []
    assert track_main_face([[], []]) == [None, None]


def test_a_person_who_is_missed_in_some_frames_is_linked_again() -> None:
    frames = [[face(100)], [], [], [face(110)], [face(105)]]
    assert centres(track_main_face(frames)) == [100, None, None, 110, 105]


@given(st.lists(st.permutations([0, 1]), min_size=1, max_size=20))
def test_the_order_of_the_detections_does_not_change_the_track(
    orders: list[list[int]],
) -> None:
    frames = []
    for number, order in enumerate(orders):
        pair = [face(100 + number, side=90), face(220 - number, side=80)]
        frames.append([pair[index] for index in order])
    assert centres(track_main_face(frames)) == [100 + number for number in range(len(orders))]


def test_a_more_confident_face_of_another_person_is_not_linked() -> None:
    frames = [
        [face(100), face(230, score=0.5)],
        [face(230, score=9.0), face(104, score=0.1)],
        [face(108)],
    ]
    assert centres(track_main_face(frames)) == [100, 104, 108]


def test_the_main_person_has_the_largest_sum_of_areas() -> None:
    speaker = [face(100, side=60)] * 8
    passer_by = [face(250, side=80)] * 2
    frames = [[seen] for seen in speaker]
    for number, other in enumerate(passer_by):
        frames[number].insert(0, other)
    assert centres(track_main_face(frames)) == [100] * 8
    larger_throughout = [[face(100, side=60), face(250, side=80)]] * 8
    assert centres(track_main_face(larger_throughout)) == [250] * 8


def test_a_face_elsewhere_or_of_another_size_is_not_linked() -> None:
    assert centres(track_main_face([[face(100)], [face(100)], [face(190)]])) == [100, 100, None]
    assert centres(track_main_face([[face(100, side=80)], [face(100, side=30)]])) == [100, None]
