"""The six emotions of MER2025, and which of them look, sound or read alike.

Each modality mixes up three pairs, and no two modalities the same ones: two of them together tell
any two emotions apart, one alone does not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

EMOTIONS = ("neutral", "angry", "happy", "sad", "worried", "surprise")


class Modality(StrEnum):
    """What carries an emotion."""

    FACE = "face"
    VOICE = "voice"
    TEXT = "text"


ALIKE: dict[Modality, tuple[tuple[str, str], ...]] = {
    Modality.FACE: (("angry", "surprise"), ("happy", "neutral"), ("sad", "worried")),
    Modality.VOICE: (("angry", "happy"), ("surprise", "worried"), ("neutral", "sad")),
    Modality.TEXT: (("angry", "sad"), ("happy", "surprise"), ("neutral", "worried")),
}


@dataclass(frozen=True)
class Shown:
    """What one modality of one clip shows: `emotion`, moved by `blend`, 0 to 1, to one alike."""

    modality: Modality
    emotion: str
    blend: float

    @property
    def alike(self) -> str:
        """The emotion it is mixed up with."""
        for pair in ALIKE[self.modality]:
            if self.emotion in pair:
                return pair[1 - pair.index(self.emotion)]
        raise ValueError(f"{self.emotion!r} is none of {', '.join(EMOTIONS)}")

    def mixed(self, prototypes: Mapping[str, Sequence[float]]) -> NDArray[np.float64]:
        """Blend the prototypes of the two emotions: (numbers,)."""
        own, other = np.asarray(prototypes[self.emotion]), np.asarray(prototypes[self.alike])
        return (1 - self.blend) * own + self.blend * other


def random_emotion(random: np.random.Generator) -> str:
    """One of the six, each as likely."""
    return EMOTIONS[int(random.integers(len(EMOTIONS)))]


def other_emotion(emotion: str, random: np.random.Generator) -> str:
    """One of the five others, each as likely."""
    others = [other for other in EMOTIONS if other != emotion]
    return others[int(random.integers(len(others)))]
