"""Draw the lower half of an expression: nose wrinkles, folds, lips and teeth."""

from dataclasses import dataclass

import numpy as np

from sample_corpus.actors import Colour, Looks
from sample_corpus.drawing import Canvas, Points, band, curve, ellipse
from sample_corpus.expression import Expression
from sample_corpus.patch import CENTRE_X, CENTRE_Y, SIDES

TEETH = (238, 232, 222)
TONGUE = (158, 74, 84)
CAVITY = (52, 22, 26)
LIP_SAMPLES = 40
UPPER_LIP_SAMPLES = 48


@dataclass(frozen=True)
class Mouth:
    """Geometry of a mouth, in pixels.

    Its corners are at `corner_y`, `width` from the middle; closed lips meet at `middle_y`. The
    lower lip is `jaw` below `middle_y`, the upper lip `lift` above it.
    """

    y: float
    width: float
    corner_y: float
    middle_y: float
    jaw: float
    lift: float

    @property
    def bend(self) -> float:
        """Distance of the corners below their resting position."""
        return self.corner_y - self.y


def mouth_shape(looks: Looks, face: Expression, speech: float) -> Mouth:
    """Return the mouth of an expression with lips opened by `speech`, 0 to 1."""
    y = CENTRE_Y + looks.mouth_line + 4 * face.jaw_drop
    stretch = 0.26 * face.lip_corner_puller + 0.20 * face.lip_stretcher - 0.30 * face.jaw_drop
    tight = 0.12 * face.lip_pressor + 0.05 * face.lip_corner_depressor + 0.10 * speech
    pressed = 0.25 * face.lip_pressor if speech < 0.3 else 0.0
    bend = (
        -15 * face.lip_corner_puller
        + 14 * face.lip_corner_depressor
        + 3 * face.lip_stretcher
        + 15 * face.jaw_drop
        + 6 * speech * (1 - 0.6 * face.lip_corner_puller)
    )
    opening = 30 * face.jaw_drop + 19 * speech + 7 * face.lips_part
    return Mouth(
        y=y,
        width=looks.mouth_width * (1 + stretch - tight),
        corner_y=y + bend,
        middle_y=y - 3 * face.chin_raiser,
        jaw=min(max(opening, 0), 46) * (1 - pressed),
        lift=2.5 * face.nose_wrinkler + 2 * face.lips_part,
    )


def draw_mouth(canvas: Canvas, looks: Looks, face: Expression, speech: float) -> None:
    """Draw the mouth and the folds of the skin around it."""
    mouth = mouth_shape(looks, face, speech)
    _draw_folds(canvas, looks, face, mouth)
    _draw_lips(canvas, looks, face, mouth)


def _draw_folds(canvas: Canvas, looks: Looks, face: Expression, mouth: Mouth) -> None:
    eye_y, skin = CENTRE_Y + looks.eye_line, looks.skin
    smile = max(face.lip_corner_puller, 0.7 * face.nose_wrinkler)
    for side in SIDES:
        if face.nose_wrinkler > 0.2:
            wrinkle = [(CENTRE_X + side * x, eye_y + y) for x, y in ((5, 4), (11, 9), (13, 18))]
            canvas.line(curve(wrinkle), skin * (1 - 0.3 * face.nose_wrinkler), 2)
        if face.lip_corner_puller > 0.2 or face.nose_wrinkler > 0.3:
            fold = [
                (CENTRE_X + side * (looks.nose_width + 7), eye_y + looks.nose_length + 2),
                (CENTRE_X + side * (mouth.width * 0.95 + 6), mouth.y - 22),
                (CENTRE_X + side * (mouth.width + 11), mouth.y + 2 + 0.5 * mouth.bend),
            ]
            canvas.line(curve(fold), skin * (1 - 0.30 * smile), 2)
            cheek_x = CENTRE_X + side * (mouth.width + 20)
            canvas.shade(cheek_x, mouth.y - 32, 18, 14, 0.10 * smile)
        if face.lip_corner_depressor > 0.25:
            corner = [
                (CENTRE_X + side * (mouth.width + x), mouth.corner_y + y)
                for x, y in ((2, -2), (8, 6), (8, 15))
            ]
            canvas.line(curve(corner), skin * (1 - 0.30 * face.lip_corner_depressor), 2)
    if face.chin_raiser > 0.2:
        canvas.shade(CENTRE_X, mouth.y + mouth.jaw + 34, 16, 7, -0.16 * face.chin_raiser)


def _draw_lips(canvas: Canvas, looks: Looks, face: Expression, mouth: Mouth) -> None:
    upper = looks.lip_thickness * (1 - 0.55 * face.lip_pressor) * (1 - 0.2 * face.lip_stretcher)
    lower = upper * 1.25
    middle, bend, jaw = mouth.middle_y, mouth.bend, mouth.jaw
    falling = 0.30 * bend * (1 - face.jaw_drop)  # a dropped jaw makes the lower lip round
    square = 0.85 if face.lip_stretcher > 0.4 else 0.80
    smile = 4 * face.lip_corner_puller

    def between_the_corners(*points: tuple[float, float], samples: int = LIP_SAMPLES) -> Points:
        """Return a symmetric line from points (distance from the middle, y) of its right half."""
        left = [(CENTRE_X - x, y) for x, y in reversed(points) if x]
        right = [(CENTRE_X + x, y) for x, y in points]
        corners = [(CENTRE_X + side * mouth.width, mouth.corner_y) for side in SIDES]
        return curve([corners[0], *left, *right, corners[1]], samples)

    lifted = middle - mouth.lift
    outer_top = between_the_corners(
        (0, lifted - upper * 0.72),
        (5, lifted - upper),
        (mouth.width * 0.5, lifted - upper * 0.8 + 0.28 * bend),
        samples=UPPER_LIP_SAMPLES,
    )
    inner_top = between_the_corners(
        (0, lifted - 0.10 * jaw), (mouth.width * 0.55, lifted + 0.26 * bend - 0.06 * jaw)
    )
    inner_bottom = between_the_corners(
        (0, middle + jaw), (mouth.width * 0.55, middle + falling + jaw * square)
    )
    outer_bottom = between_the_corners(
        (0, middle + jaw + lower * 1.05),
        (mouth.width * 0.56, middle + falling + jaw * 0.83 + lower * 0.85 + smile),
    )
    colour = _lip_colour(looks)
    canvas.fill(band(outer_top, inner_top), colour * 0.82)
    canvas.fill(band(inner_bottom, outer_bottom), colour)
    if jaw > 1.5:
        teeth = 5.0 + smile - 1.5 * face.jaw_drop

        def cavity(hole: Canvas) -> None:
            hole.image[...] = CAVITY
            hole.fill(band(inner_top - (0, 6), inner_top - (0, -teeth)), TEETH)
            hole.fill(ellipse(CENTRE_X, middle + jaw + 2, mouth.width * 0.5, jaw * 0.34), TONGUE)

        canvas.draw_clipped(band(inner_top, inner_bottom), cavity)
    else:
        canvas.line((inner_top + inner_bottom) / 2, colour * 0.40, 3)
    shine_y = mouth.y + jaw + lower * 0.5
    canvas.shade(CENTRE_X, shine_y, mouth.width * 0.3, 2.5, 0.16)


def _lip_colour(looks: Looks) -> Colour:
    red = looks.lip_colour * looks.skin / (222, 176, 140)
    return np.clip(0.55 * red + 0.45 * looks.skin * (0.86, 0.70, 0.72), 0, 255)
