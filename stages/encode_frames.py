"""Whole frames -> features of one encoder."""

from pathlib import Path

from ecmf.cli import stage
from ecmf.encoding.store_encoder import encode_pictures
from ecmf.execution.shard import Shard
from ecmf.params import EncodeFrames, chosen


def encode_frames(
    encoder: str,
    frames: Path,
    features: Path,
    params: EncodeFrames,
    shard: Shard | None = None,
) -> None:
    """Encode the frames of every clip with the encoder of this name in the table."""
    encode_pictures(
        f"frame/{encoder}",
        chosen(params.encoders, encoder),
        frames,
        features,
        params.error_budget,
        shard,
    )


if __name__ == "__main__":
    stage.main(encode_frames)
