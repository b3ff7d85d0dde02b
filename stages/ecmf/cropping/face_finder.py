"""Find the faces of one frame of the file's own size, and cut a square around each."""

from dataclasses import dataclass

import cv2
import numpy as np

from ecmf.cropping.base import Detector, Face
from ecmf.media import RGB
from ecmf.storage.jpeg import downscale


@dataclass(frozen=True)
class FoundFace:
    """A face in pixels of the frame, and the square around it, which holds no more of the frame.

    The squares of all faces of a clip are kept until its main person is known: together they are
    hardly larger than the crops, however large the frames are.
    """

    face: Face
    square: RGB


@dataclass(frozen=True)
class FaceFinder:
    """Search a frame at the detector's sizes; cut squares from the frame itself.

    `margin` is a fraction of the box on each side. A square has at most `largest_side` pixels.
    """

    detector: Detector
    minimum_confidence: float
    margin: float
    largest_side: int

    def __call__(self, frame: RGB) -> list[FoundFace]:
        """Return every face of the first size at which there is one, highest score first."""
        return [
            FoundFace(face, crop(frame, face, self.margin, self.largest_side))
            for face in self._detect(frame)
        ]

    def _detect(self, frame: RGB) -> list[Face]:
        height, width = frame.shape[:2]
        searched = set()
        for side in self.detector.sides:
            image = downscale(frame, side)
            if image.shape in searched:  # the frame is smaller than both sides
                continue
            searched.add(image.shape)
            if faces := self.detector(image, self.minimum_confidence):
                across, down = width / image.shape[1], height / image.shape[0]
                return [face.scaled(across, down) for face in faces]
        return []


def crop(image: RGB, face: Face, margin: float, largest_side: int) -> RGB:
    """Crop the square around the box of a face, enlarged by `margin` of its side on each side.

    Outside the image its border is repeated, so that the face keeps its proportions.

    Returns:
        (side, side, 3), reduced to `largest_side` where it is larger, never enlarged.
    """
    side = max(1, round(max(face.width, face.height) * (1 + 2 * margin)))
    left = round((face.left + face.right - side) / 2)
    top = round((face.top + face.bottom - side) / 2)
    rows = np.clip(np.arange(top, top + side), 0, image.shape[0] - 1)
    columns = np.clip(np.arange(left, left + side), 0, image.shape[1] - 1)
    return downscale(np.ascontiguousarray(image[rows[:, None], columns]), largest_side)


def enlarge(square: RGB, side: int) -> RGB:
    """Resize a square to `side` pixels if it is smaller, so that all crops have one size."""
    if len(square) == side:
        return square
    return np.asarray(cv2.resize(square, (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)
