"""Crop the face of the main person from the frames of a clip, as square JPEG files."""

import functools
import json
from dataclasses import dataclass

import cv2
import numpy as np

from ecmf import registry
from ecmf.cropping.base import Detector, Face
from ecmf.cropping.face_tracker import track_main_face
from ecmf.media import RGB, Images
from ecmf.params import CropFaces
from ecmf.storage.jpeg import decode_jpeg, encode_jpeg
from ecmf.storage.store import Layout, Result, Rows, no_rows

FACES = Layout(jpeg=True, columns={"box": (4,), "score": ()})
"""A row per crop. `box` is left, top, right, bottom in pixels of the frame, as detected."""

MIN_FACE_FRACTION = 0.5
"""A clip with a face in a smaller fraction of its frames is flagged."""


def crop(image: RGB, face: Face, margin: float, pixels: int) -> RGB:
    """Crop the square around the box of a face, enlarged by `margin` of its side on each side.

    Outside the image its border is repeated, so that the face keeps its proportions.

    Returns:
        (pixels, pixels, 3)
    """
    side = max(1, round(max(face.width, face.height) * (1 + 2 * margin)))
    left = round((face.left + face.right - side) / 2)
    top = round((face.top + face.bottom - side) / 2)
    rows = np.clip(np.arange(top, top + side), 0, image.shape[0] - 1)
    columns = np.clip(np.arange(left, left + side), 0, image.shape[1] - 1)
    square = image[rows[:, None], columns]
    interpolation = cv2.INTER_AREA if side > pixels else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (pixels, pixels), interpolation=interpolation), np.uint8)


@dataclass(frozen=True)
class FaceCropper:
    """Crop the faces of clips; the detector is built in the worker process that runs it."""

    params: CropFaces

    @property
    def detector(self) -> Detector:
        """The detector, one per process."""
        options = json.dumps(self.params.chosen_options, sort_keys=True)
        return _detector(self.params.detector, options)

    @property
    def minimum_confidence(self) -> float:
        """Minimum score of a face: the parameter, or the default of the detector."""
        minimum = self.params.minimum_confidence
        return self.detector.default_confidence if minimum is None else minimum

    def __call__(self, clip: Images) -> Rows:
        """Crop the face of the main person, tracked through the clip.

        Returns:
            A row per frame with that face, with the time of the frame. The clip is empty without
            any face, and flagged if fewer than MIN_FACE_FRACTION of its frames have one.
        """
        detector, minimum = self.detector, self.minimum_confidence
        images = clip.images
        tracked = track_main_face([detector(image, minimum) for image in images])
        faces = [(index, face) for index, face in enumerate(tracked) if face]
        facts = {"frames": float(len(images)), "faces": float(len(faces))}
        if not faces:
            reason = f"no face found in {len(images)} frames" if len(images) else "no frames"
            return no_rows(FACES, "empty", reason, facts)
        params = self.params
        crops = [crop(images[i], face, params.margin, params.crop_pixels) for i, face in faces]
        boxes = [(face.left, face.top, face.right, face.bottom) for _, face in faces]
        few = len(faces) < MIN_FACE_FRACTION * len(images)
        return Rows(
            values=[encode_jpeg(image, params.jpeg_quality) for image in crops],
            times=clip.times[[index for index, _ in faces]],
            columns={
                "box": np.array(boxes, "float32"),
                "score": np.array([face.score for _, face in faces], "float32"),
            },
            facts=facts,
            state="flagged" if few else "whole",
            reason=f"a face in {len(faces)} of {len(images)} frames only" if few else "",
        )

    def crop_stored(self, clip: tuple[str, Rows]) -> Result:
        """Crop the faces of a clip of a frame store, from its id and rows."""
        clip_id, rows = clip
        images = [decode_jpeg(file) for file in rows.values]
        return (self(Images(clip_id, images, rows.times)),)


@functools.cache
def _detector(name: str, options: str) -> Detector:
    detector: Detector = registry.build("detectors", "Detector", name, json.loads(options))
    return detector
