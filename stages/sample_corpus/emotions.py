"""The six emotions of MER2025, and the pairs that look, sound or read alike.

Each modality confuses three pairs, and no two modalities confuse the same pair. Any two modalities
therefore distinguish all emotions; a single modality does not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

EMOTIONS = ("neutral", "angry", "happy", "sad", "worried", "surprise")

RANDOM_EMOTION = 0.05
"""Probability that a modality expresses an emotion drawn at random."""

INTENSITIES = (0.75, 1.1)
"""Weakest and strongest expression of an emotion in a face or a voice; a prototype has 1."""


class Modality(StrEnum):
    """Channel that expresses an emotion."""

    FACE = "face"
    VOICE = "voice"
    TEXT = "text"


ALIKE: dict[Modality, tuple[tuple[str, str], ...]] = {
    Modality.FACE: (("angry", "surprise"), ("happy", "neutral"), ("sad", "worried")),
    Modality.VOICE: (("angry", "happy"), ("surprise", "worried"), ("neutral", "sad")),
    Modality.TEXT: (("angry", "sad"), ("happy", "surprise"), ("neutral", "worried")),
}


@dataclass(frozen=True)
class EmotionBlend:
    """Emotion expressed by a modality of a clip, moved by `blend` (0 to 1) to the one alike."""

    modality: Modality
    emotion: str
    blend: float

    @property
    def alike(self) -> str:
        """The emotion that this modality confuses with `emotion`."""
        for pair in ALIKE[self.modality]:
            if self.emotion in pair:
                return pair[1 - pair.index(self.emotion)]
        raise ValueError(f"{self.emotion!r} is not one of {', '.join(EMOTIONS)}")

    def interpolate(self, prototypes: Mapping[str, Sequence[float]]) -> NDArray[np.float64]:
        """Interpolate between the prototypes of the two emotions: (parameters,)."""
        own, alike = np.asarray(prototypes[self.emotion]), np.asarray(prototypes[self.alike])
        return (1 - self.blend) * own + self.blend * alike


def random_emotion(rng: np.random.Generator) -> str:
    """Draw one of the six emotions, uniformly."""
    return EMOTIONS[int(rng.integers(len(EMOTIONS)))]


def other_emotion(emotion: str, rng: np.random.Generator) -> str:
    """Draw one of the five other emotions, uniformly."""
    others = [other for other in EMOTIONS if other != emotion]
    return others[int(rng.integers(len(others)))]
