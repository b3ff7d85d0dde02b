"""Decode the media files of a manifest into frames and waveforms, each file once."""

from pathlib import Path

from ecmf.cli import stage
from ecmf.data.manifest import read_manifest
from ecmf.decoding.decode_recipe import decode_clips
from ecmf.execution.error_budget import log_kinds
from ecmf.execution.shard import Shard
from ecmf.params import DecodeVideo


def decode_video(
    manifest: Path, frames: Path, audio: Path, params: DecodeVideo, shard: Shard | None = None
) -> None:
    """Decode every clip of the manifest into a store of frames and a store of audio."""
    log_kinds("flagged", decode_clips(read_manifest(manifest), frames, audio, params, shard))


if __name__ == "__main__":
    stage.main(decode_video, stage.check_corpus)
