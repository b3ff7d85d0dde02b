"""Crop the face of the main person of each clip, tracked from frame to frame."""

from pathlib import Path

from ecmf.cli import stage
from ecmf.cropping.crop_recipe import build_recipe, clip_inputs
from ecmf.execution import engine
from ecmf.execution.result_writer import write_results
from ecmf.execution.shard import Shard
from ecmf.params import CropFaces
from ecmf.storage.store import Store


def crop_faces(frames: Path, faces: Path, params: CropFaces, shard: Shard | None = None) -> None:
    """Crop the face of every clip's main person from its frames."""
    recipe, output = build_recipe(params, faces)
    with Store(frames) as store:
        results = engine.run(recipe, clip_inputs(store), shard)
        if results is not None:
            write_results(results, [output], params.error_budget)


if __name__ == "__main__":
    stage.main(crop_faces)
