"""What every refiner promises."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Kind = Literal["given", "annotators", "out_of_fold", "text_cues"]
"""Where an opinion comes from; `out_of_fold` is a classifier that did not see the clip's group."""


@dataclass(frozen=True)
class Opinion:
    """What one source says of every training clip: probabilities (clips, classes).

    A row of zeros is no opinion.
    """

    kind: Kind
    shares: NDArray[np.float64]


@dataclass(frozen=True)
class Decision:
    """What becomes of a clip: its distribution over the classes, its weight, and what was done."""

    soft: tuple[float, ...]
    weight: float
    name: str


class Refiner(Protocol):
    """Opinions on the training clips in, one decision per clip out. It sees no other split."""

    reads: ClassVar[frozenset[Kind]]
    """The kinds of sources it asks for; others are not worked out."""

    def __call__(self, opinions: Mapping[str, Opinion], classes: Sequence[str]) -> list[Decision]:
        """Decide on every clip. The source `given` is always there."""
        ...
