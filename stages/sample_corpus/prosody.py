"""Define the prosody of each emotion, relative to an actor's neutral voice."""

from typing import NamedTuple

import numpy as np

from sample_corpus.emotions import INTENSITIES, EmotionBlend


class Prosody(NamedTuple):
    """Prosodic parameters, relative to the neutral voice of an actor.

    Attributes:
        pitch: units of the 0 to 99 scale of espeak.
        pitch_range: units of the same scale.
        rate: words per minute.
        loudness: decibels.
        tilt: spectral tilt in decibels per octave; above 0 is shrill, below 0 is dull.
        tremolo: depth of an amplitude modulation of about 5.5 Hz, 0 to 1.
        breath: breath noise, as a fraction of the voice.
    """

    pitch: float = 0.0
    pitch_range: float = 0.0
    rate: float = 0.0
    loudness: float = 0.0
    tilt: float = 0.0
    tremolo: float = 0.0
    breath: float = 0.0


PROTOTYPES = {
    "neutral": Prosody(),
    "angry": Prosody(pitch=6, pitch_range=22, rate=38, loudness=6, tilt=3.0),
    "happy": Prosody(pitch=20, pitch_range=38, rate=18, loudness=3, tilt=1.5),
    "sad": Prosody(pitch=-14, pitch_range=-30, rate=-38, loudness=-5, tilt=-3.0, breath=0.03),
    "worried": Prosody(
        pitch=16, pitch_range=-18, rate=26, loudness=-2, tilt=-0.5, tremolo=0.45, breath=0.01
    ),
    "surprise": Prosody(pitch=32, pitch_range=42, rate=-4, loudness=2, tilt=1.0),
}

NOISE = Prosody(pitch=4, pitch_range=6, rate=9, loudness=1.5, tilt=0.6, tremolo=0.03, breath=0.005)
"""Standard deviation between clips, unrelated to the emotion."""


def sample_prosody(blend: EmotionBlend, rng: np.random.Generator) -> Prosody:
    """Scale the blended prototypes by a random intensity, and add noise."""
    values = blend.interpolate(PROTOTYPES) * rng.uniform(*INTENSITIES)
    return Prosody(*(values + rng.normal(0, NOISE)).tolist())
