"""Interface of a face detector."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from ecmf.media import RGB


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


class Detector(Protocol):
    """Find faces in images; beside the options, `provenance` determines the result."""

    default_confidence: ClassVar[float]
    """Minimum score of a face if the parameters set none."""

    uses_device: ClassVar[bool]
    """Whether it runs on the requested device, not always on the CPU."""

    provenance: Mapping[str, Any]

    def __call__(self, image: RGB, minimum_confidence: float) -> list[Face]:
        """Find every face with a score of at least `minimum_confidence`, highest score first."""
        ...
