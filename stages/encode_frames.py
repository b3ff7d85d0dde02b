"""Encode the whole frames of the clips with one encoder."""

from pathlib import Path

from ecmf.cli import stage
from ecmf.encoding.store_encoder import encode_image_store
from ecmf.execution.shard import Shard
from ecmf.params import EncodeFrames, chosen


def encode_frames(
    encoder: str, frames: Path, features: Path, params: EncodeFrames, shard: Shard | None = None
) -> None:
    """Encode the frames of every clip with the encoder of this name in params.yaml."""
    choice = chosen(params.encoders, encoder)
    encode_image_store(f"frame/{encoder}", choice, frames, features, params.error_budget, shard)


if __name__ == "__main__":
    stage.main(encode_frames)
