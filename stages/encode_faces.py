"""Face crops -> features of one encoder."""

from pathlib import Path

from ecmf import stage
from ecmf.encoding import encode_pictures
from ecmf.params import EncodeFaces, chosen
from ecmf.shard import Shard


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
