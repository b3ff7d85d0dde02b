from hypothesis import given
from hypothesis import strategies as st

from ecmf.cropping.base import Face
from ecmf.cropping.face_tracker import follow


def face(x: float, y: float = 100.0, side: float = 80.0, score: float = 1.0) -> Face:
    """Return a square face by its centre."""
    return Face(x - side / 2, y - side / 2, x + side / 2, y + side / 2, score)


def centres(faces: list[Face | None]) -> list[float | None]:
    return [found and (found.left + found.right) / 2 for found in faces]


def test_a_clip_without_a_face_has_nobody() -> None:
    assert follow([]) == []
    assert follow([[], []]) == [None, None]


def test_a_person_who_is_missed_for_some_pictures_is_the_same_afterwards() -> None:
    pictures = [[face(100)], [], [], [face(110)], [face(105)]]
    assert centres(follow(pictures)) == [100, None, None, 110, 105]


@given(st.lists(st.permutations([0, 1]), min_size=1, max_size=20))
def test_one_person_stays_one_person_in_whatever_order_faces_are_found(
    orders: list[list[int]],
) -> None:
    pictures = []
    for number, order in enumerate(orders):
        pair = [face(100 + number, side=90), face(220 - number, side=80)]
        pictures.append([pair[index] for index in order])
    assert centres(follow(pictures)) == [100 + number for number in range(len(orders))]


def test_the_surer_face_is_not_followed_when_it_is_another_person() -> None:
    pictures = [
        [face(100), face(230, score=0.5)],
        [face(230, score=9.0), face(104, score=0.1)],
        [face(108)],
    ]
    assert centres(follow(pictures)) == [100, 104, 108]


def test_the_main_person_is_the_one_seen_largest_and_longest() -> None:
    speaker = [face(100, side=60)] * 8
    passer_by = [face(250, side=80)] * 2
    pictures = [[one] for one in speaker]
    for number, other in enumerate(passer_by):
        pictures[number].insert(0, other)
    assert centres(follow(pictures)) == [100] * 8
    near_for_long = [[face(100, side=60), face(250, side=80)]] * 8
    assert centres(follow(near_for_long)) == [250] * 8


def test_a_face_elsewhere_or_of_another_size_is_somebody_else() -> None:
    assert centres(follow([[face(100)], [face(100)], [face(190)]])) == [100, 100, None]
    assert centres(follow([[face(100, side=80)], [face(100, side=30)]])) == [100, None]
