"""The pictures of one clip -> square crops of its main person's face, as JPEG files."""

import functools
import json
from dataclasses import dataclass

import cv2
import numpy as np

from ecmf import registry
from ecmf.cropping.base import Detector, Face
from ecmf.cropping.face_tracker import follow
from ecmf.media import RGB, Pictures
from ecmf.params import CropFaces
from ecmf.storage.jpeg import decode_jpeg, encode_jpeg
from ecmf.storage.store import Layout, Result, Rows, no_rows

LAYOUT = Layout(jpeg=True, columns={"box": (4,), "score": ()})
"""A row per crop. `box` is left, top, right, bottom in pixels of the frame, as it was detected."""

ENOUGH = 0.5
"""A clip whose face is found in a smaller share of its frames is flagged."""


def crop(picture: RGB, face: Face, margin: float, edge: int) -> RGB:
    """Cut a face out of a picture: the square around its box, `margin` sides wider on each side.

    What lies outside the picture repeats its border, so that a face keeps its proportions there.

    Returns:
        (edge, edge, 3)
    """
    side = max(1, round(max(face.width, face.height) * (1 + 2 * margin)))
    left = round((face.left + face.right - side) / 2)
    top = round((face.top + face.bottom - side) / 2)
    rows = np.clip(np.arange(top, top + side), 0, picture.shape[0] - 1)
    columns = np.clip(np.arange(left, left + side), 0, picture.shape[1] - 1)
    square = picture[rows[:, None], columns]
    interpolation = cv2.INTER_AREA if side > edge else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (edge, edge), interpolation=interpolation), np.uint8)


@dataclass(frozen=True)
class FaceCropper:
    """A clip's pictures in, its face crops out. The detector is built where it first runs."""

    params: CropFaces

    @property
    def detector(self) -> Detector:
        """The chosen detector, one per process."""
        options = self.params.options.get(self.params.detector, {})
        return _detector(self.params.detector, json.dumps(options, sort_keys=True))

    @property
    def minimum_confidence(self) -> float:
        """The score asked of a face: the parameter, or the detector's own default."""
        given = self.params.minimum_confidence
        return self.detector.default_confidence if given is None else given

    def __call__(self, pictures: Pictures) -> Rows:
        """Crop the face of the one person who is followed through the clip.

        Returns:
            A row per picture in which the person was seen, with the picture's time; no row, and the
            reason, where no face was found; flagged where it was found in few pictures only.
        """
        detector, minimum = self.detector, self.minimum_confidence
        images = pictures.images
        followed = follow([detector(image, minimum) for image in images])
        seen = [(number, face) for number, face in enumerate(followed) if face]
        facts = {"frames": float(len(images)), "faces": float(len(seen))}
        if not seen:
            reason = f"no face found in {len(images)} frames" if len(images) else "no frames"
            return no_rows(LAYOUT, "empty", reason, facts)
        params = self.params
        crops = [crop(images[number], face, params.margin, params.edge) for number, face in seen]
        few = len(seen) < ENOUGH * len(images)
        return Rows(
            values=[encode_jpeg(face, params.jpeg_quality) for face in crops],
            times=pictures.times[[number for number, _ in seen]],
            columns={
                "box": np.array(
                    [(face.left, face.top, face.right, face.bottom) for _, face in seen], "float32"
                ),
                "score": np.array([face.score for _, face in seen], "float32"),
            },
            facts=facts,
            state="flagged" if few else "whole",
            reason=f"a face in {len(seen)} of {len(images)} frames only" if few else "",
        )

    def crop_stored(self, clip: tuple[str, Rows]) -> Result:
        """Do the same for a clip of a store of frames, given as its id and rows."""
        clip_id, rows = clip
        images = [decode_jpeg(picture) for picture in rows.values]
        return (self(Pictures(clip_id, images, rows.times)),)


@functools.cache
def _detector(member: str, options: str) -> Detector:
    detector: Detector = registry.create("detectors", "Detector", member, json.loads(options))
    return detector
