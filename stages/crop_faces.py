"""Frames -> face crops: one person per clip, followed from frame to frame."""

import logging
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from ecmf import device, stage, workers
from ecmf.budget import check_budget
from ecmf.cropping import LAYOUT, FaceCropper
from ecmf.params import CropFaces
from ecmf.store import Store, StoreWriter, no_rows
from ecmf.workers import Failure

log = logging.getLogger(__name__)


def crop_faces(frames: Path, faces: Path, params: CropFaces) -> None:
    """Crop the face of every clip's main person out of its frames."""
    cropper = FaceCropper(params)
    detector = cropper.detector  # wrong options or weights stop the stage before its first clip
    on_device = detector.uses_device and device.requested() != "cpu"
    provenance = {
        "detector": params.detector,
        "options": params.options.get(params.detector, {}),
        "minimum_confidence": cropper.minimum_confidence,
        "margin": params.margin,
        "edge": params.edge,
        "jpeg_quality": params.jpeg_quality,
        **detector.provenance,
    }
    states: Counter[str] = Counter()
    failures: dict[str, str] = {}
    with Store(frames) as source, StoreWriter(faces, LAYOUT, provenance) as out:
        results = workers.run(
            cropper.crop_stored, source.items(), workers=1 if on_device else workers.count()
        )
        progress = tqdm(source, "crop_faces", total=len(source), unit="clip", disable=None)
        for clip_id, rows in zip(progress, results, strict=True):
            if isinstance(rows, Failure):
                failures[clip_id] = rows.reason
                rows = no_rows(LAYOUT, "failed", rows.reason)
            out.append(clip_id, rows)
            states[rows.state] += 1
        check_budget(failures, len(source), params.error_budget)
    log.info("clips: %s", ", ".join(f"{count} {state}" for state, count in sorted(states.items())))


if __name__ == "__main__":
    stage.main(crop_faces)
