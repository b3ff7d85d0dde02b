"""Waveforms -> features of one encoder."""

from pathlib import Path

from ecmf.cli import stage
from ecmf.encoding.store_encoder import encode_sound
from ecmf.execution.shard import Shard
from ecmf.params import EncodeAudio, chosen


def encode_audio(
    encoder: str,
    audio: Path,
    features: Path,
    params: EncodeAudio,
    shard: Shard | None = None,
) -> None:
    """Encode the voice of every clip with the encoder of this name in the table."""
    encode_sound(
        f"audio/{encoder}",
        chosen(params.encoders, encoder),
        audio,
        features,
        params.error_budget,
        shard,
    )


if __name__ == "__main__":
    stage.main(encode_audio)
