"""Interface of a face detector."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Protocol, Self

from pydantic import Field

from ecmf.media import RGB

Sides = Annotated[
    tuple[Annotated[int, Field(ge=32)], ...],
    Field(
        min_length=1,
        description="Longer sides in pixels to search at; the next only where no face was found.",
    ),
]
"""Option of a detector that searches images of any size."""


@dataclass(frozen=True)
class Face:
    """One face: the edges of its bounding box in pixels, and the detector's confidence score.

    0 is the left or upper edge of the image; a box may extend beyond the image. A larger score is
    more confident; scores of different detectors have different scales.
    """

    left: float
    top: float
    right: float
    bottom: float
    score: float

    @property
    def width(self) -> float:
        """Width of the box in pixels."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Height of the box in pixels."""
        return self.bottom - self.top

    def scaled(self, across: float, down: float) -> Self:
        """Return the face in an image that is `across` times as wide and `down` times as high."""
        return replace(
            self,
            left=self.left * across,
            top=self.top * down,
            right=self.right * across,
            bottom=self.bottom * down,
        )


class Detector(Protocol):
    """Find faces in images; beside the options, `provenance` determines the result."""

    default_confidence: ClassVar[float]
    """Minimum score of a face if the parameters set none."""

    uses_device: ClassVar[bool]
    """Whether it runs on the requested device, not always on the CPU."""

    sides: tuple[int, ...]
    """Longer sides in pixels to which a larger frame is reduced, in order of the search.

    The next one is searched only where no face was found before. A frame is never enlarged."""

    provenance: Mapping[str, Any]

    def __call__(self, image: RGB, minimum_confidence: float) -> list[Face]:
        """Find every face with a score of at least `minimum_confidence`, highest score first."""
        ...
