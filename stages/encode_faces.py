"""Encode the face crops of the clips with one encoder."""

from pathlib import Path

from ecmf.cli import stage
from ecmf.encoding.store_encoder import encode_image_store
from ecmf.execution.shard import Shard
from ecmf.params import EncodeFaces, chosen


def encode_faces(
    encoder: str, faces: Path, features: Path, params: EncodeFaces, shard: Shard | None = None
) -> None:
    """Encode the face crops of every clip with the encoder of this name in params.yaml."""
    choice = chosen(params.encoders, encoder)
    encode_image_store(f"face/{encoder}", choice, faces, features, params.error_budget, shard)


if __name__ == "__main__":
    stage.main(encode_faces)
