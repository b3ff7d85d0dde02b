"""Example to copy: detect faces with the cascade of Haar wavelets that comes with OpenCV.

P. Viola and M. Jones, "Rapid object detection using a boosted cascade of simple features", CVPR
2001. Finds upright frontal faces; `dlib_hog` misses fewer.
"""

from pathlib import Path

import cv2
import cv2.data
from pydantic import Field

from ecmf.config import Section
from ecmf.cropping.base import Face, Sides
from ecmf.media import RGB

CASCADE = Path(cv2.data.haarcascades) / "haarcascade_frontalface_default.xml"


class Options(Section):
    """Scales of the search."""

    sides: Sides = (320,)
    step: float = Field(1.1, gt=1, le=2, description="Factor from one size of face to the next.")
    neighbours: int = Field(5, ge=0, description="Minimum boxes that overlap at one face.")


class Detector:
    """OpenCV's frontal face cascade. A score is the sum of the last stage's weights."""

    default_confidence = 0.0
    uses_device = False

    def __init__(self, options: Options) -> None:
        self._options = options
        self.sides = options.sides  # a larger frame is reduced to these, one after the other
        self._cascade = cv2.CascadeClassifier(str(CASCADE))
        # Everything but the options that determines the boxes; it is stored with the result.
        self.provenance = {"cascade": CASCADE.name, "opencv": cv2.__version__}

    def __call__(self, image: RGB, minimum_confidence: float) -> list[Face]:
        """Find every face with a score of at least `minimum_confidence`, highest score first."""
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        boxes, _, scores = self._cascade.detectMultiScale3(
            grey, self._options.step, self._options.neighbours, outputRejectLevels=True
        )
        faces = [
            Face(float(x), float(y), float(x + width), float(y + height), float(score))
            for (x, y, width, height), score in zip(boxes, scores, strict=True)
            if score >= minimum_confidence
        ]
        return sorted(faces, key=lambda face: -face.score)
