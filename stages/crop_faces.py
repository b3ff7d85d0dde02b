"""Crop the face of the main person of each clip, tracked from frame to frame."""

from pathlib import Path

from ecmf.cli import stage
from ecmf.cropping.crop_recipe import crop_clips
from ecmf.data.manifest import read_manifest
from ecmf.execution.shard import Shard
from ecmf.params import CropFaces


def crop_faces(
    manifest: Path, frames: Path, faces: Path, params: CropFaces, shard: Shard | None = None
) -> None:
    """Crop the face of every clip's main person from its file, at the times of its frames."""
    crop_clips(read_manifest(manifest), frames, faces, params, shard)


if __name__ == "__main__":
    stage.main(crop_faces)
