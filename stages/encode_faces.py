"""Face crops -> features of one encoder."""

from pathlib import Path

from ecmf.cli import stage
from ecmf.encoding.store_encoder import encode_pictures
from ecmf.execution.shard import Shard
from ecmf.params import EncodeFaces, chosen


def encode_faces(
    encoder: str,
    faces: Path,
    features: Path,
    params: EncodeFaces,
    shard: Shard | None = None,
) -> None:
    """Encode the face crops of every clip with the encoder of this name in the table."""
    encode_pictures(
        f"face/{encoder}",
        chosen(params.encoders, encoder),
        faces,
        features,
        params.error_budget,
        shard,
    )


if __name__ == "__main__":
    stage.main(encode_faces)
