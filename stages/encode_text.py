"""Encode the texts of the clips, in the chosen view, with one encoder."""

from pathlib import Path

from ecmf.cli import stage
from ecmf.encoding.text_views import encode_transcripts
from ecmf.execution.shard import Shard
from ecmf.params import EncodeText, chosen


def encode_text(
    encoder: str, text: Path, features: Path, params: EncodeText, shard: Shard | None = None
) -> None:
    """Encode the text of every clip with the encoder of this name in params.yaml."""
    choice = chosen(params.encoders, encoder)
    encode_transcripts(f"text/{encoder}", choice, text, features, params.error_budget, shard)


if __name__ == "__main__":
    stage.main(encode_text)
