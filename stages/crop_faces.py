"""Crop the face of the main person of each clip, tracked from frame to frame."""

from pathlib import Path

from ecmf.cli import stage
from ecmf.cropping.crop_recipe import build_recipe, clip_inputs
from ecmf.data.manifest import read_manifest
from ecmf.execution import engine
from ecmf.execution.result_writer import write_results
from ecmf.execution.shard import Shard
from ecmf.params import CropFaces
from ecmf.storage.store import Store


def crop_faces(
    manifest: Path, frames: Path, faces: Path, params: CropFaces, shard: Shard | None = None
) -> None:
    """Crop the face of every clip's main person from its file, at the times of its frames."""
    with Store(frames) as store:
        recipe, output = build_recipe(params, store, faces)
        results = engine.run(recipe, clip_inputs(read_manifest(manifest), store), shard)
        if results is not None:
            write_results(results, [output], params.error_budget)


if __name__ == "__main__":
    stage.main(crop_faces)
