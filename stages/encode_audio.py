"""Encode the waveforms of the clips with one encoder."""

from pathlib import Path

from ecmf.cli import stage
from ecmf.encoding.store_encoder import encode_audio_store
from ecmf.execution.shard import Shard
from ecmf.params import EncodeAudio, chosen


def encode_audio(
    encoder: str, audio: Path, features: Path, params: EncodeAudio, shard: Shard | None = None
) -> None:
    """Encode the waveform of every clip with the encoder of this name in params.yaml."""
    choice = chosen(params.encoders, encoder)
    encode_audio_store(f"audio/{encoder}", choice, audio, features, params.error_budget, shard)


if __name__ == "__main__":
    stage.main(encode_audio)
