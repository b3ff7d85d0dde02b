"""Draw the upper half of an expression: eyes, lids, brows and forehead."""

import numpy as np

from sample_corpus.actors import Looks
from sample_corpus.drawing import Canvas, band, curve, ellipse
from sample_corpus.expression import Expression
from sample_corpus.haircuts import hairline
from sample_corpus.patch import CENTRE_X, CENTRE_Y, SIDES

LASHES = (30, 24, 22)
EYE_WHITE = np.array((236, 232, 228)) * 0.80
GLASSES = (34, 36, 40)


def draw_forehead(canvas: Canvas, looks: Looks, face: Expression) -> None:
    """Draw the furrow between lowered brows and the wrinkles above raised brows."""
    eye_y = CENTRE_Y + looks.eye_line
    lowered, raised, arched = face.brow_lowerer, face.inner_brow_raiser, face.outer_brow_raiser
    if lowered > 0.15:
        canvas.shade(CENTRE_X, eye_y - 24, 14, 14, -0.22 * lowered)
        for side in SIDES:
            furrow = [(8, -40), (6, -24), (9, -12)]
            points = [(CENTRE_X + side * x, eye_y + y) for x, y in furrow]
            canvas.line(curve(points), looks.skin * (1 - 0.38 * lowered), 2)
    if min(raised, 1) > 0.25:
        half, sag = 30 + 22 * arched, 6 * (1 - arched)
        free = hairline(looks) + 9
        for y in (height for height in (eye_y - 74, eye_y - 83, eye_y - 92) if height > free):
            points = [(CENTRE_X - half, y + sag), (CENTRE_X, y - 6), (CENTRE_X + half, y + sag)]
            canvas.line(curve(points), looks.skin * (1 - 0.17 * raised), 2)


def draw_eyes(canvas: Canvas, looks: Looks, face: Expression) -> None:
    """Draw both eyes and their brows."""
    for side in SIDES:
        if face.cheek_raiser > 0.2:
            _draw_crow_feet(canvas, looks, face, side)
        _draw_eye(canvas, looks, face, side)
        _draw_brow(canvas, looks, face, side)


def draw_glasses(canvas: Canvas, looks: Looks) -> None:
    """Draw two rims and a bridge."""
    eye_y = CENTRE_Y + looks.eye_line
    for side in SIDES:
        rim = ellipse(CENTRE_X + side * looks.eye_distance, eye_y + 3, 36, 24, roundness=0.75)
        canvas.line(np.vstack([rim, rim[:1]]), GLASSES, 4)
    bridge = [(CENTRE_X - 16, eye_y - 2), (CENTRE_X, eye_y - 7), (CENTRE_X + 16, eye_y - 2)]
    canvas.line(curve(bridge), GLASSES, 4)


def _opening(looks: Looks, face: Expression) -> tuple[float, float, float]:
    """Return the opening of an eye and the distances of both lids from its middle, in pixels."""
    muscles = 0.75 * face.upper_lid_raiser - 0.42 * face.lid_tightener - 0.30 * face.cheek_raiser
    shut = min(max(face.eyes_closed, 0), 1) * 0.97
    opening = looks.eye_height * min(max(1 + muscles, 0.2), 2) * (1 - shut)
    lower = 0.80 - 0.35 * face.cheek_raiser - 0.15 * face.lid_tightener
    return opening, opening * 1.12, opening * lower


def _draw_crow_feet(canvas: Canvas, looks: Looks, face: Expression, side: int) -> None:
    x, y = CENTRE_X + side * looks.eye_distance, CENTRE_Y + looks.eye_line
    width, raised = looks.eye_width, face.cheek_raiser
    lower = _opening(looks, face)[2]
    colour = looks.skin * (1 - 0.25 * raised)
    canvas.shade(x, y + 34, 26, 9, 0.12 * raised)
    bag = [(-0.8, 10), (0.0, 14), (1.0, 8)]
    canvas.line(curve([(x + side * width * w, y + lower + h) for w, h in bag]), colour, 2)
    for slant in (-4, 1, 6):
        near, far = x + side * (width + 7), x + side * (width + 17)
        canvas.line(np.array([(near, y + 2 + slant), (far, y + 4 + 2.2 * slant)]), colour, 2)


def _draw_eye(canvas: Canvas, looks: Looks, face: Expression, side: int) -> None:
    x, y, width = CENTRE_X + side * looks.eye_distance, CENTRE_Y + looks.eye_line, looks.eye_width
    opening, upper, lower = _opening(looks, face)
    inner = (x - side * width, y + 2)
    outer = (x + side * width, y - 1 + 3 * face.lip_corner_depressor)
    # the upper lid slants with the brow
    slant = 5 * face.brow_lowerer - 5 * face.inner_brow_raiser * (1 - 0.6 * face.outer_brow_raiser)
    top = curve(
        [
            inner,
            (x - side * width * 0.45, y - upper * 0.86 + slant * 0.7),
            (x + side * width * 0.1, y - upper),
            (x + side * width * 0.62, y - upper * 0.66 - slant * 0.2),
            outer,
        ]
    )
    bottom = curve(
        [
            inner,
            (x - side * width * 0.2, y + lower),
            (x + side * width * 0.4, y + lower * 0.9),
            outer,
        ]
    )
    if opening > 1.2:
        gaze_x, gaze_y = x + 6 * face.gaze_aside, y - 1 + 4 * face.gaze_down
        radius = looks.eye_height * 1.06

        def ball(eye: Canvas) -> None:
            eye.image[...] = np.minimum(EYE_WHITE, looks.skin * 0.55 + 115)
            eye.fill(ellipse(gaze_x, gaze_y, radius, radius), looks.iris * 0.55)
            eye.fill(ellipse(gaze_x, gaze_y, radius * 0.82, radius * 0.82), looks.iris * 1.25)
            eye.fill(ellipse(gaze_x, gaze_y, radius * 0.45, radius * 0.45), (12, 12, 12))
            eye.fill(ellipse(gaze_x - 3, gaze_y - 3.5, 2.1, 2.1), (245, 245, 245))

        canvas.draw_clipped(band(top, bottom), ball)
        canvas.shade(x, y - upper * 0.75, width * 0.8, 5.0, -0.38)
    canvas.line(top, LASHES, 4)
    canvas.line(bottom, looks.skin * 0.58, 2)
    canvas.line(top - (0, 7 + 2 * face.upper_lid_raiser), looks.skin * 0.64, 2)


def _draw_brow(canvas: Canvas, looks: Looks, face: Expression, side: int) -> None:
    x, width = CENTRE_X + side * looks.eye_distance, looks.eye_width
    y = CENTRE_Y + looks.eye_line + looks.brow_line
    raised, arched, lowered = face.inner_brow_raiser, face.outer_brow_raiser, face.brow_lowerer
    inner = -21 * raised + 17 * lowered * (1 - 0.75 * min(raised, 1))
    outer = -16 * arched + 5 * lowered - raised + 6 * raised * (1 - arched)
    together = 7 * lowered
    line = curve(
        [
            (x - side * (width * 1.05 + together * 1.2), y + 5 + inner),
            (x - side * (width * 0.25 + together * 0.5), y - 4 + 0.68 * inner + 0.40 * outer),
            (x + side * width * 0.55, y - 5 + 0.25 * inner + 0.72 * outer),
            (x + side * width * 1.35, y + 6 + outer),
        ]
    )
    along = np.linspace(0, 1, len(line))
    taper = 0.55 * np.minimum(1, along * 6 + 0.55) * (1 - 0.72 * along)
    half = np.stack([np.zeros_like(taper), looks.brow_thickness * taper], axis=1)
    canvas.fill(band(line - half, line + half), np.clip(looks.hair * 0.62, 0, 90))
    canvas.shade(x, y + 12 + 0.5 * inner, 20, 5, -0.08)
