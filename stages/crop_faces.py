"""Crop the face of the main person of each clip, tracked from frame to frame."""

import functools
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime

from ecmf.cli import stage
from ecmf.cropping.face_cropper import FACES, FaceCropper
from ecmf.execution import code_fingerprint, device, engine
from ecmf.execution.error_budget import check_budget
from ecmf.execution.process_pool import Failure
from ecmf.execution.recipe import ClipInput, PoolRecipe
from ecmf.execution.shard import Shard
from ecmf.params import CropFaces
from ecmf.storage.store import Rows, Store, no_rows
from ecmf.storage.store_writer import StoreWriter

log = logging.getLogger(__name__)


def crop_faces(frames: Path, faces: Path, params: CropFaces, shard: Shard | None = None) -> None:
    """Crop the face of every clip's main person from its frames."""
    recipe, provenance = build_recipe(params)
    states: Counter[str] = Counter()
    failures: dict[str, str] = {}
    with Store(frames) as source:
        clips = [
            ClipInput(clip_id, source.digest(clip_id), functools.partial(_rows, source, clip_id))
            for clip_id in source
        ]
        results = engine.run(recipe, clips, shard)
        if results is None:
            return
        with StoreWriter(faces, FACES, provenance) as out:
            for clip_id, result in results:
                if isinstance(result, Failure):
                    failures[clip_id] = result.reason
                    result = (no_rows(FACES, "failed", result.reason),)
                out.append(clip_id, result[0])
                states[result[0].state] += 1
            check_budget(failures, len(source), params.error_budget)
    log.info("clips: %s", ", ".join(f"{count} {state}" for state, count in sorted(states.items())))


def build_recipe(params: CropFaces) -> tuple[PoolRecipe, dict[str, Any]]:
    """Build the recipe that crops the faces of a clip, and the provenance of the store."""
    cropper = FaceCropper(params)
    detector = cropper.detector  # wrong options or weights stop the stage before its first clip
    provenance = {
        "detector": params.detector,
        "options": params.options.get(params.detector, {}),
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
    return recipe, provenance


def _rows(store: Store, clip_id: str) -> tuple[str, Rows]:
    return clip_id, store[clip_id]


if __name__ == "__main__":
    stage.main(crop_faces)
