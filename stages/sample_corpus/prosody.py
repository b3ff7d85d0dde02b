"""How each emotion sounds: what is added to an actor's own way of speaking."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Prosody(NamedTuple):
    """One way of speaking, relative to the actor's own.

    Attributes:
        pitch: steps of the 0 to 99 scale of espeak.
        pitch_range: steps of the same kind.
        rate: words per minute.
        loudness: decibel.
        tilt: decibel per octave; above 0 is shrill, below 0 is dull.
        tremolo: depth of a trembling of about 5.5 Hz, 0 to 1.
        breath: breath noise, as a share of the voice.
    """

    pitch: float = 0.0
    pitch_range: float = 0.0
    rate: float = 0.0
    loudness: float = 0.0
    tilt: float = 0.0
    tremolo: float = 0.0
    breath: float = 0.0


VOICES = {
    "neutral": Prosody(),
    "angry": Prosody(pitch=6, pitch_range=22, rate=38, loudness=6, tilt=3.0),
    "happy": Prosody(pitch=20, pitch_range=38, rate=18, loudness=3, tilt=1.5),
    "sad": Prosody(pitch=-14, pitch_range=-30, rate=-38, loudness=-5, tilt=-3.0, breath=0.03),
    "worried": Prosody(
        pitch=16, pitch_range=-18, rate=26, loudness=-2, tilt=-0.5, tremolo=0.45, breath=0.01
    ),
    "surprise": Prosody(pitch=32, pitch_range=42, rate=-4, loudness=2, tilt=1.0),
}

HABIT = Prosody(pitch=4, pitch_range=6, rate=9, loudness=1.5, tilt=0.6, tremolo=0.03, breath=0.005)
"""Standard deviation of what varies from clip to clip without meaning."""


def played(prototype: NDArray[np.float64], weakest: float, random: np.random.Generator) -> Prosody:
    """A blend of prototypes -> how the actor says it: an intensity, and what varies anyway."""
    state = prototype * random.uniform(weakest, 1.1)
    return Prosody(*(state + random.normal(0, HABIT)).tolist())
