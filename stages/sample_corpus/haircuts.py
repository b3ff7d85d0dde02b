"""Compute outlines of the hair behind the head and over the forehead."""

import numpy as np

from sample_corpus.actors import Haircut, Looks
from sample_corpus.drawing import Points, band, curve
from sample_corpus.patch import CENTRE_X, CENTRE_Y, face_outline

Edge = list[tuple[float, float]]
"""Points on a smooth line, from left to right, in pixels of the patch."""

MARGINS_BEHIND: dict[Haircut, float] = {"bob": 22, "long": 15}
"""Pixels by which hair that covers the ears is wider than the face."""


def hair_behind_head(looks: Looks) -> Points | None:
    """Return the outline of the hair around the head, or None if the ears are visible."""
    margin = MARGINS_BEHIND.get(looks.haircut)
    if margin is None:
        return None
    return face_outline(looks, margin) - (0, margin + 3)  # it ends above the chin


def long_hair(looks: Looks) -> Points:
    """Return the outline of long hair beside and behind the neck."""
    left, right = CENTRE_X - looks.face_width, CENTRE_X + looks.face_width
    above, below = CENTRE_Y - 60, CENTRE_Y + 190
    return np.array(
        [
            (left - 26, above),
            (right + 26, above),
            (right + 34, below),
            (CENTRE_X + 60, below + 10),
            (CENTRE_X - 60, below + 10),
            (left - 34, below),
        ]
    )


def fringe(looks: Looks) -> Points:
    """Return the outline of the hair on top of the head and over the forehead."""
    lower, upper = FRINGES[looks.haircut](looks)
    return band(curve(lower), curve(upper))


def hairline(looks: Looks) -> float:
    """Return the y of the lowest hair over the middle of the forehead, in pixels of the patch."""
    lower, _ = FRINGES[looks.haircut](looks)
    return max(y for x, y in lower if abs(x - CENTRE_X) < looks.face_width / 2)


def _bob(looks: Looks) -> tuple[Edge, Edge]:
    x, y, top = CENTRE_X, CENTRE_Y, CENTRE_Y - looks.face_height
    left, right = x - looks.face_width, x + looks.face_width
    over_the_brows = [(left + 8, y - 80), (x - 40, top + 62), (x + 30, top + 44)]
    lower = [(left - 8, y - 20), *over_the_brows, (right - 10, y - 88), (right + 8, y - 20)]
    crown = [(x - 80, top - 16), (x, top - 36), (x + 80, top - 16)]
    return lower, [(left - 20, y - 60), *crown, (right + 20, y - 60)]


def _short(looks: Looks) -> tuple[Edge, Edge]:
    x, y, top = CENTRE_X, CENTRE_Y, CENTRE_Y - looks.face_height
    left, right = x - looks.face_width, x + looks.face_width
    hairline = [(x - 60, top + 48), (x, top + 40), (x + 60, top + 48)]
    temples = [(left + 14, y - 92), *hairline, (right - 14, y - 92)]
    crown = [(x - 70, top - 4), (x, top - 22), (x + 70, top - 4)]
    lower = [(left - 3, y - 48), *temples, (right + 3, y - 48)]
    return lower, [(left - 6, y - 90), *crown, (right + 6, y - 90)]


def _long(looks: Looks) -> tuple[Edge, Edge]:
    x, y, top = CENTRE_X, CENTRE_Y, CENTRE_Y - looks.face_height
    left, right = x - looks.face_width, x + looks.face_width
    parting = [(x - 30, top + 40), (x, top + 22), (x + 30, top + 40)]
    temples = [(left + 10, y - 70), *parting, (right - 10, y - 70)]
    crown = [(x - 90, top - 2), (x, top - 28), (x + 90, top - 2)]
    lower = [(left - 16, y + 10), *temples, (right + 16, y + 10)]
    return lower, [(left - 26, y - 40), *crown, (right + 26, y - 40)]


def _cropped(looks: Looks) -> tuple[Edge, Edge]:
    x, y, top = CENTRE_X, CENTRE_Y, CENTRE_Y - looks.face_height
    left, right = x - looks.face_width, x + looks.face_width
    hairline = [(x - 40, top + 34), (x + 40, top + 34)]
    temples = [(left + 22, y - 104), *hairline, (right - 22, y - 104)]
    crown = [(x - 60, top - 4), (x, top - 10), (x + 60, top - 4)]
    lower = [(left, y - 66), *temples, (right, y - 66)]
    return lower, [(left + 2, y - 100), *crown, (right - 2, y - 100)]


FRINGES = {"bob": _bob, "short": _short, "long": _long, "cropped": _cropped}
