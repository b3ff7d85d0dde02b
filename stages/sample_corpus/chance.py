"""Randomness that does not depend on order: one generator per actor, clip and purpose.

What is drawn for one purpose never moves the numbers of another, whichever process draws first.
"""

from enum import IntEnum, auto

import numpy as np


class Purpose(IntEnum):
    """What random numbers are for. Append only: the order is part of every corpus made so far."""

    LOOKS = auto()
    SKIN_AND_HAIR = auto()
    BACKGROUND = auto()
    VOICE = auto()
    EMOTIONS = auto()
    WRONG_LABELS = auto()
    ANNOTATORS = auto()
    MISSING = auto()
    FACE_SHOWN = auto()
    VOICE_SHOWN = auto()
    TEXT_SHOWN = auto()
    PROSODY = auto()
    SOUND = auto()
    EXPRESSION = auto()
    MOTION = auto()
    CAMERA = auto()


def generator(seed: int, purpose: Purpose, actor: int = 0, clip: int = 0) -> np.random.Generator:
    """Return the generator of one purpose.

    Actors, and the clips of an actor, count from 1; 0 is what belongs to the whole corpus or actor.
    """
    return np.random.default_rng([seed, actor, clip, purpose])
