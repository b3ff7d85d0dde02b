"""Decode the media files of a manifest into frames and waveforms, reading each file once."""

from pathlib import Path

from ecmf.cli import stage
from ecmf.data.manifest import read_manifest
from ecmf.decoding.decode_recipe import build_recipe, clip_inputs, output_stores
from ecmf.execution import engine
from ecmf.execution.error_budget import log_kinds
from ecmf.execution.result_writer import write_results
from ecmf.execution.shard import Shard
from ecmf.params import DecodeVideo


def decode_video(
    manifest: Path, frames: Path, audio: Path, params: DecodeVideo, shard: Shard | None = None
) -> None:
    """Decode every clip of the manifest into a store of frames and a store of audio."""
    recipe = build_recipe(params)
    results = engine.run(recipe, clip_inputs(read_manifest(manifest)), shard)
    if results is None:
        return
    stores = output_stores(frames, audio, recipe)
    log_kinds("flagged", write_results(results, stores, params.error_budget))


if __name__ == "__main__":
    stage.main(decode_video, stage.check_corpus)
