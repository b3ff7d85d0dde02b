"""Sample the looks and the voice of an actor, the same in all of the actor's clips."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sample_corpus.seeding import Purpose, make_rng

Colour = NDArray[np.float64]
"""Red, green, blue, each 0 to 255: (3,)."""

Haircut = Literal["bob", "short", "long", "cropped"]
HAIRCUTS: tuple[Haircut, ...] = ("bob", "short", "long", "cropped")

SKINS = (
    (236, 198, 168),
    (222, 176, 140),
    (206, 156, 118),
    (180, 128, 92),
    (150, 100, 70),
    (116, 74, 52),
)
HAIRS = ((34, 28, 28), (72, 46, 30), (122, 78, 44), (190, 148, 88), (120, 50, 40), (130, 124, 120))
HAIRS_OF_LIGHT_SKIN = (0, 1, 2, 3, 4, 5)
HAIRS_OF_DARK_SKIN = (0, 0, 1, 5)
IRISES = ((40, 60, 60), (40, 90, 120), (60, 90, 50), (80, 50, 30))

FEMALE_VARIANTS = ("f1", "f2", "f3", "f4", "f5", "linda")
MALE_VARIANTS = ("m1", "m2", "m3", "m4", "m7", "m8")


@dataclass(frozen=True)
class Looks:
    """Measures of a face in pixels of its patch; `..._line` is a height relative to the centre.

    Widths and heights of the face, eyes and mouth are half the full extent. `jaw` is the width of
    the chin as a fraction of the face, `light` the direction of the light from -0.5 (left) to 0.5
    (right), `beard` its darkness, `scale` the clip's pixels per pixel of the patch.
    """

    skin: Colour
    hair: Colour
    iris: Colour
    face_width: float
    face_height: float
    jaw: float
    eye_distance: float
    eye_line: float
    eye_width: float
    eye_height: float
    brow_line: float
    brow_thickness: float
    nose_length: float
    nose_width: float
    mouth_line: float
    mouth_width: float
    lip_thickness: float
    lip_colour: Colour
    haircut: Haircut
    background_top: Colour
    background_bottom: Colour
    clothes: Colour
    light: float
    glasses: bool
    beard: float
    freckles: bool
    scale: float
    offset_x: float
    offset_y: float


@dataclass(frozen=True)
class Voice:
    """An actor's neutral voice: espeak variant, pitch 0 to 99, words per minute, decibels."""

    variant: str
    pitch: float
    rate: float
    loudness: float


def sample_looks(seed: int, actor: int) -> Looks:
    """Sample the looks of an actor."""
    rng = make_rng(seed, Purpose.LOOKS, actor)
    uniform = rng.uniform
    skin = int(rng.integers(len(SKINS)))
    hairs = HAIRS_OF_LIGHT_SKIN if skin < 3 else HAIRS_OF_DARK_SKIN
    return Looks(
        skin=np.array(SKINS[skin]) * uniform(0.94, 1.05),
        hair=np.array(HAIRS[int(rng.choice(hairs))]) * uniform(0.85, 1.1),
        iris=np.array(IRISES[int(rng.integers(len(IRISES)))], dtype=np.float64),
        face_width=uniform(118, 136),
        face_height=uniform(158, 174),
        jaw=uniform(0.72, 0.95),
        eye_distance=uniform(50, 58),
        eye_line=uniform(-30, -20),
        eye_width=uniform(25, 30),
        eye_height=uniform(9.5, 12.5),
        brow_line=uniform(-33, -27),
        brow_thickness=uniform(6, 11),
        nose_length=uniform(46, 58),
        nose_width=uniform(18, 25),
        mouth_line=uniform(84, 96),
        mouth_width=uniform(40, 50),
        lip_thickness=uniform(7, 11),
        lip_colour=uniform((150, 70, 70), (185, 96, 100)),
        haircut=HAIRCUTS[int(rng.integers(len(HAIRCUTS)))],
        background_top=uniform(70, 190) + uniform(-28, 28, 3),
        background_bottom=uniform(60, 200) + uniform(-34, 34, 3),
        clothes=uniform(30, 200, 3),
        light=uniform(-0.5, 0.5),
        glasses=bool(rng.random() < 0.2),
        beard=uniform(0.15, 0.4) if rng.random() < 0.3 else 0.0,
        freckles=bool(rng.random() < 0.25),
        scale=uniform(0.43, 0.52),
        offset_x=uniform(-14, 14),
        offset_y=uniform(-6, 8),
    )


def sample_voice(seed: int, actor: int) -> Voice:
    """Sample the voice of an actor, independently of the looks."""
    rng = make_rng(seed, Purpose.VOICE, actor)
    variants = FEMALE_VARIANTS if rng.random() < 0.5 else MALE_VARIANTS
    return Voice(
        variant=variants[int(rng.integers(len(variants)))],
        pitch=rng.uniform(30, 55),
        rate=rng.uniform(155, 185),
        loudness=rng.uniform(-2.5, 2.5),
    )
