"""Seed one random generator per actor, clip and purpose.

Draws for one purpose do not affect those for another, or depend on the order of processes.
"""

from enum import IntEnum, auto

import numpy as np


class Purpose(IntEnum):
    """Use of random numbers. Append only: a changed order would change every corpus."""

    LOOKS = auto()
    SKIN_AND_HAIR = auto()
    BACKGROUND = auto()
    VOICE = auto()
    EMOTIONS = auto()
    LABEL_NOISE = auto()
    ANNOTATORS = auto()
    MISSING = auto()
    FACE_EMOTION = auto()
    VOICE_EMOTION = auto()
    TEXT_EMOTION = auto()
    PROSODY = auto()
    SOUND = auto()
    EXPRESSION = auto()
    MOTION = auto()
    CAMERA = auto()


def make_rng(seed: int, purpose: Purpose, actor: int = 0, clip: int = 0) -> np.random.Generator:
    """Return the random generator of one purpose.

    Actors, and the clips of an actor, count from 1; 0 is the whole corpus or actor.
    """
    return np.random.default_rng([seed, actor, clip, purpose])
