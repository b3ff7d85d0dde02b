"""How each emotion looks: action units of the Facial Action Coding System, gaze and head.

Ekman, Friesen and Hager, Facial Action Coding System, 2002. An action unit goes from 0 (at rest) to
1 (full); a little more than 1 is allowed.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Expression(NamedTuple):
    """One state of a face: the action units by their number in FACS, then gaze and head."""

    inner_brow_raiser: float = 0.0  # AU 1
    outer_brow_raiser: float = 0.0  # AU 2
    brow_lowerer: float = 0.0  # AU 4
    upper_lid_raiser: float = 0.0  # AU 5
    cheek_raiser: float = 0.0  # AU 6
    lid_tightener: float = 0.0  # AU 7
    nose_wrinkler: float = 0.0  # AU 9
    lip_corner_puller: float = 0.0  # AU 12
    lip_corner_depressor: float = 0.0  # AU 15
    chin_raiser: float = 0.0  # AU 17
    lip_stretcher: float = 0.0  # AU 20
    lip_pressor: float = 0.0  # AU 24
    lips_part: float = 0.0  # AU 25
    jaw_drop: float = 0.0  # AU 26
    eyes_closed: float = 0.0  # AU 43
    gaze_aside: float = 0.0  # AU 61, to the right of the picture
    gaze_down: float = 0.0  # AU 64
    head_down: float = 0.0  # AU 54
    head_tilt: float = 0.0  # AU 55, counter-clockwise in the picture


ACTION_UNITS = Expression._fields.index("eyes_closed") + 1
"""How many of the numbers move muscles of the face; they stand first."""

FACES = {
    "neutral": Expression(),
    "angry": Expression(
        brow_lowerer=1.0,
        upper_lid_raiser=0.35,
        lid_tightener=0.55,
        nose_wrinkler=0.5,
        lip_pressor=0.8,
        chin_raiser=0.3,
        head_down=0.25,
    ),
    "happy": Expression(
        cheek_raiser=0.8,
        lip_corner_puller=1.0,
        lips_part=0.35,
        head_down=-0.2,
        head_tilt=0.3,
    ),
    "sad": Expression(
        inner_brow_raiser=0.9,
        brow_lowerer=0.35,
        lip_corner_depressor=1.0,
        chin_raiser=0.5,
        eyes_closed=0.35,
        gaze_down=0.5,
        head_down=0.6,
        head_tilt=0.4,
    ),
    "worried": Expression(
        inner_brow_raiser=1.0,
        outer_brow_raiser=0.25,
        brow_lowerer=0.55,
        upper_lid_raiser=0.55,
        lip_stretcher=0.9,
        lips_part=0.25,
        gaze_aside=0.4,
        head_tilt=-0.3,
    ),
    "surprise": Expression(
        inner_brow_raiser=1.0,
        outer_brow_raiser=1.0,
        upper_lid_raiser=1.0,
        lips_part=0.3,
        jaw_drop=0.85,
        head_down=-0.5,
    ),
}

TWITCH = 0.10
"""Spread of the muscles that move without meaning."""


def played(
    prototype: NDArray[np.float64], weakest: float, random: np.random.Generator
) -> Expression:
    """A blend of prototypes -> what the actor makes of it: an intensity and a few stray muscles."""
    state = prototype * random.uniform(weakest, 1.1)
    stray = np.abs(random.normal(0, TWITCH, ACTION_UNITS)) * (random.random(ACTION_UNITS) < 0.4)
    state[:ACTION_UNITS] = np.clip(state[:ACTION_UNITS] + stray, 0, 1.2)
    return Expression(*state.tolist())
