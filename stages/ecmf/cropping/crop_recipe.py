"""Crop the faces of clips into a store: the recipe for one clip, its inputs, and the run on all."""

import functools
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from ecmf.cropping.face_cropper import FACES, FaceCropper, face_facts
from ecmf.data.manifest import Clip
from ecmf.decoding.clip_content import content_key
from ecmf.decoding.second_reading import SecondReading, StoredClip
from ecmf.errors import StoreError
from ecmf.execution import code_fingerprint, device, engine
from ecmf.execution.recipe import ClipInput, PoolRecipe
from ecmf.execution.result_writer import OutputStore, write_results
from ecmf.execution.shard import Shard
from ecmf.params import CropFaces
from ecmf.storage.store import Result, State, Store, no_rows


def crop_clips(
    clips: Sequence[Clip], frames: Path, faces: Path, params: CropFaces, shard: Shard | None = None
) -> None:
    """Crop the face of every clip's main person into a store, at the times of its stored frames.

    With a `shard`, only the cache is filled.
    """
    with Store(frames) as store:
        recipe, output = build_recipe(params, store, faces)
        results = engine.run(recipe, clip_inputs(clips, store), shard)
        if results is not None:
            write_results(results, [output], params.error_budget)


def build_recipe(params: CropFaces, frames: Store, faces: Path) -> tuple[PoolRecipe, OutputStore]:
    """Build the recipe that crops the faces of a clip, and describe the store `faces`."""
    cropper = FaceCropper(params, SecondReading.of_store(frames.provenance))
    provenance = cropper.provenance  # wrong options or weights stop the stage before its first clip
    code = code_fingerprint.hash_modules(
        "ecmf.cropping.face_cropper",
        f"ecmf.detectors.{params.detector}",
        f"ecmf.decoders.{cropper.reading.decoder}",
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
        cropper,
        seconds_per_clip=params.seconds_per_clip,
        exclusive=cropper.detector.uses_device and device.requested() != "cpu",
    )
    return recipe, OutputStore(faces, FACES, provenance)


def clip_inputs(clips: Sequence[Clip], frames: Store) -> list[ClipInput]:
    """Wrap the clips of a manifest, and the times of their stored frames, as inputs of the recipe.

    A clip without a stored frame has its result: no frame was searched for a face.

    Raises:
        StoreError: the store holds other clips than the manifest.
    """
    if [clip.clip_id for clip in clips] != list(frames):
        raise StoreError(
            f"the manifest lists {len(clips)} clips, and the store of frames holds {len(frames)}, "
            "not the same ones in the same order: run decode_video again"
        )
    return [
        ClipInput(
            clip.clip_id,
            content_key(clip),
            functools.partial(_stored_clip, clip, frames),
            None if frames.count(clip.clip_id) else _without_frames(*frames.state(clip.clip_id)),
        )
        for clip in clips
    ]


def _without_frames(state: State, reason: str) -> Result:
    """Return the result of a clip without video, or whose video failed; both had no face seen.

    A failure is not one of this stage: it has been counted against the budget of decode_video.
    """
    cause = f"decoding failed: {reason}" if state == "failed" else reason
    return (no_rows(FACES, "empty", f"no frames: {cause}", face_facts([], [])),)


def _stored_clip(clip: Clip, frames: Store) -> StoredClip:
    return StoredClip(clip, frames.times(clip.clip_id))
