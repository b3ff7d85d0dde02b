"""Crop the face of the main person of a clip from its file, as square JPEG images."""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ecmf import registry
from ecmf.cropping.base import Detector
from ecmf.cropping.face_finder import FaceFinder, FoundFace, enlarge
from ecmf.cropping.face_tracker import track_main_face
from ecmf.decoding.second_reading import SecondReading, StoredClip
from ecmf.media import Seconds
from ecmf.params import CropFaces
from ecmf.storage.jpeg import encode_jpeg
from ecmf.storage.store import Layout, Result, Rows, no_rows

FACES = Layout(jpeg=True, columns={"box": (4,), "score": ()})
"""A row per crop. `box` is left, top, right, bottom in pixels of the file's upright frame."""

MIN_FACE_FRACTION = 0.5
"""A clip with a face in a smaller fraction of its frames is flagged."""


@dataclass(frozen=True)
class FaceCropper:
    """Crop the faces of clips; the detector is built in the worker process that runs it.

    The clip's file is read again, because the stored frames are too small for sharp crops. Frames
    are searched and cut one by one as they are decoded: only the faces stay in memory.
    """

    params: CropFaces
    reading: SecondReading

    @property
    def detector(self) -> Detector:
        """The detector, one per process."""
        options = json.dumps(self.params.chosen_options, sort_keys=True)
        return _detector(self.params.detector, options)

    @property
    def provenance(self) -> dict[str, Any]:
        """Everything that determines the bytes of the crops."""
        return {
            "detector": self.params.detector,
            "options": self.params.chosen_options,
            "sides": self.detector.sides,
            "minimum_confidence": self.minimum_confidence,
            "margin": self.params.margin,
            "crop_pixels": self.params.crop_pixels,
            "jpeg_quality": self.params.jpeg_quality,
            **self.detector.provenance,
            **self.reading.provenance,
        }

    @property
    def minimum_confidence(self) -> float:
        """Minimum score of a face: the parameter, or the default of the detector."""
        minimum = self.params.minimum_confidence
        return self.detector.default_confidence if minimum is None else minimum

    def __call__(self, clip: StoredClip) -> Result:
        """Crop the face of the main person, tracked through the clip.

        Returns:
            A row per frame with that face, with the time of the frame. The clip is empty without
            any face, and flagged if fewer than MIN_FACE_FRACTION of its frames have one.

        Raises:
            ClipError: the file cannot be read again, or is no longer the one that was decoded.
        """
        find = FaceFinder(
            self.detector, self.minimum_confidence, self.params.margin, self.params.crop_pixels
        )
        return (self._crop_main_person(self.reading(clip, find), clip.times),)

    def _crop_main_person(self, frames: Sequence[Sequence[FoundFace]], times: Seconds) -> Rows:
        tracked = track_main_face([[found.face for found in frame] for frame in frames])
        chosen = [
            (index, next(found for found in frames[index] if found.face is face))
            for index, face in enumerate(tracked)
            if face
        ]
        facts = face_facts(frames, [found for _, found in chosen])
        if not chosen:
            return no_rows(FACES, "empty", f"no face found in {len(frames)} frames", facts)
        faces = [found.face for _, found in chosen]
        crops = [enlarge(found.square, self.params.crop_pixels) for _, found in chosen]
        few = len(chosen) < MIN_FACE_FRACTION * len(frames)
        return Rows(
            values=[encode_jpeg(image, self.params.jpeg_quality) for image in crops],
            times=times[[index for index, _ in chosen]],
            columns={
                "box": np.array([(f.left, f.top, f.right, f.bottom) for f in faces], "float32"),
                "score": np.array([face.score for face in faces], "float32"),
            },
            facts=facts,
            state="flagged" if few else "whole",
            reason=f"a face in {len(chosen)} of {len(frames)} frames only" if few else "",
        )


def face_facts(
    frames: Sequence[Sequence[FoundFace]], chosen: Sequence[FoundFace]
) -> dict[str, float]:
    """Count a clip's frames, those with the main person's face, and those with several faces.

    `face_height` is the median height of the main person's face, in pixels of the file.
    """
    facts = {
        "frames": float(len(frames)),
        "faces": float(len(chosen)),
        "several_faces": float(sum(len(found) > 1 for found in frames)),
    }
    if chosen:
        facts["face_height"] = float(np.median([found.face.height for found in chosen]))
    return facts


@functools.cache
def _detector(name: str, options: str) -> Detector:
    detector: Detector = registry.build("detectors", "Detector", name, json.loads(options))
    return detector
