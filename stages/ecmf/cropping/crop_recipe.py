"""Build the recipe that crops the faces of the clips of a frame store, and its inputs."""

import functools
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from ecmf.cropping.face_cropper import FACES, FaceCropper
from ecmf.execution import code_fingerprint, device
from ecmf.execution.recipe import ClipInput, PoolRecipe
from ecmf.execution.result_writer import OutputStore
from ecmf.params import CropFaces
from ecmf.storage.store import Rows, Store


def build_recipe(params: CropFaces, faces: Path) -> tuple[PoolRecipe, OutputStore]:
    """Build the recipe that crops the faces of a clip, and describe the store `faces`."""
    cropper = FaceCropper(params)
    detector = cropper.detector  # wrong options or weights stop the stage before its first clip
    provenance = {
        "detector": params.detector,
        "options": params.chosen_options,
        "minimum_confidence": cropper.minimum_confidence,
        "margin": params.margin,
        "crop_pixels": params.crop_pixels,
        "jpeg_quality": params.jpeg_quality,
        **detector.provenance,
    }
    code = code_fingerprint.hash_modules(
        "ecmf.cropping.face_cropper", f"ecmf.detectors.{params.detector}"
    )
    identity = {
        **provenance,
        "code": code,
        "device": device.requested().partition(":")[0],
        "versions": [cv2.__version__, np.__version__, onnxruntime.__version__],
    }
    recipe = PoolRecipe(
        "crop_faces",
        (FACES,),
        identity,
        cropper.crop_stored,
        exclusive=detector.uses_device and device.requested() != "cpu",
    )
    return recipe, OutputStore(faces, FACES, provenance)


def clip_inputs(frames: Store) -> list[ClipInput]:
    """Wrap the clips of a frame store as inputs of the recipe."""
    return [
        ClipInput(clip_id, frames.digest(clip_id), functools.partial(_rows, frames, clip_id))
        for clip_id in frames
    ]


def _rows(store: Store, clip_id: str) -> tuple[str, Rows]:
    return clip_id, store[clip_id]
