"""Comparisons read sequences, or the same encoders with one row per clip."""

import sys
from pathlib import Path

import numpy as np

from ecmf import registry
from ecmf.media import SAMPLE_RATE, Audio
from ecmf.params import load_params

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

from support.rows import with_rows


def test_without_its_options_of_a_sequence_an_encoder_of_voices_gives_one_row_per_clip():
    entry = load_params().encode_audio.encoders["librosa"].model_dump()
    samples = np.random.default_rng(0).normal(0, 3000, 3 * SAMPLE_RATE).astype("int16")
    counts = []
    for rows in ("sequence", "clip"):
        options = load_params().encode_audio.model_validate(
            {"encoders": {"librosa": with_rows(entry, rows)}}
        )
        choice = options.encoders["librosa"]
        encoder = registry.build("encoders.audio", "Encoder", choice.encoder, choice.options)
        (features,) = encoder([Audio("clip", samples)])
        counts.append(len(features.values))
    sequence, clip = counts
    assert sequence > 1
    assert clip == 1
