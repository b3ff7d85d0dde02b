"""What every face detector promises."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from ecmf.media import RGB


@dataclass(frozen=True)
class Face:
    """One face: the edges of its box in pixels, and how sure the detector is.

    0 is the left or upper edge of the picture; a box may reach beyond the picture. Scores of
    different detectors are not on one scale; larger is surer.
    """

    left: float
    top: float
    right: float
    bottom: float
    score: float

    @property
    def width(self) -> float:
        """From the left to the right edge, in pixels."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """From the upper to the lower edge, in pixels."""
        return self.bottom - self.top


class Detector(Protocol):
    """A picture in, its faces out. `provenance` fixes the numbers beyond the options."""

    default_confidence: ClassVar[float]
    """The score that is asked of a face where the parameters say nothing."""

    uses_device: ClassVar[bool]
    """True: it runs on a GPU where one is asked for. False: always on the processor."""

    provenance: Mapping[str, Any]

    def __call__(self, picture: RGB, minimum_confidence: float) -> list[Face]:
        """Find every face with a score of `minimum_confidence` or more, the surest first."""
        ...
