"""Facial expression of each emotion: action units (FACS), gaze and head.

Ekman, Friesen and Hager, Facial Action Coding System, 2002. An action unit ranges from 0 (at rest)
to 1 (full), and may slightly exceed 1.
"""

from typing import NamedTuple

import numpy as np

from sample_corpus.emotions import INTENSITIES, EmotionBlend


class Expression(NamedTuple):
    """Intensities of action units in the order of their FACS numbers, then of gaze and head."""

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
    gaze_aside: float = 0.0  # AU 61, to the right of the image
    gaze_down: float = 0.0  # AU 64
    head_down: float = 0.0  # AU 54
    head_tilt: float = 0.0  # AU 55, counter-clockwise in the image


MUSCLES = Expression._fields.index("eyes_closed") + 1
"""Number of fields that are muscles of the face; they are the first."""

PROTOTYPES = {
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

STRAY_MOVEMENT = 0.10
"""Standard deviation of muscle movements that are unrelated to the emotion."""


def sample_expression(blend: EmotionBlend, rng: np.random.Generator) -> Expression:
    """Scale the blended prototypes by a random intensity, and add stray movements."""
    state = blend.interpolate(PROTOTYPES) * rng.uniform(*INTENSITIES)
    strength = np.abs(rng.normal(0, STRAY_MOVEMENT, MUSCLES))
    stray = strength * (rng.random(MUSCLES) < 0.4)
    state[:MUSCLES] = np.clip(state[:MUSCLES] + stray, 0, 1.2)
    return Expression(*state.tolist())
