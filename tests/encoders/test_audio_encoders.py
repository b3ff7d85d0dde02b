"""The contract of every audio encoder, tested on all of them; then tests of librosa."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny_onnx
import tiny_speech
from numpy.typing import NDArray

from ecmf import registry
from ecmf.encoding.batching import encode
from ecmf.errors import ParamsError
from ecmf.media import SAMPLE_RATE, Audio, Samples

ENCODERS = [*registry.names("encoders.audio"), registry.EXAMPLE]
FULL_SCALE = 32_768

OPTIONS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "huggingface": tiny_speech.hubert_large,
    "onnx_speech": tiny_onnx.speech,
}
"""Encoders with required options -> a function that writes their weights and returns options."""


def vowel(seconds: float, hertz: float = 140.0, level: float = 0.3) -> Samples:
    """A voice-like signal: falling harmonics, modulated four times a second."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    waves = sum(np.sin(2 * np.pi * hertz * n * time) / n for n in range(1, 12))
    sound = level * waves * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * time)) / 2
    return (sound * FULL_SCALE).clip(-FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def noise(seconds: float, level: float) -> Samples:
    samples = round(seconds * SAMPLE_RATE)
    return (np.random.default_rng(0).normal(0, level, samples) * FULL_SCALE).astype(np.int16)


@pytest.fixture(scope="module", params=ENCODERS)
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    name: str = request.param
    if not registry.interface("encoders.audio", "Encoder", name).reads_media:
        pytest.skip("looks features up by clip id: it has its own test")
    options = OPTIONS[name](tmp_path_factory.mktemp(name)) if name in OPTIONS else {}
    return registry.build("encoders.audio", "Encoder", name, options)


CLIPS = [
    Audio("low", vowel(1.3)),
    Audio("high", vowel(0.7, 260.0)),
    Audio("hiss", noise(2.0, 0.05)),
    Audio("long", vowel(6.1, 180.0, 0.1)),
    Audio("full", np.resize(np.array([32767] * 50 + [-32768] * 50, np.int16), 16_000)),
]


def test_rows_are_finite_floats_of_the_width_of_the_encoder(encoder: Any) -> None:
    for clip, features in zip(CLIPS, encode(encoder, CLIPS), strict=True):
        assert features.values.dtype == np.float32
        assert features.values.shape[1:] == (encoder.dim,)
        assert len(features.values) > 0, clip.clip_id
        assert np.isfinite(features.values).all()


def test_times_rise_within_the_clip(encoder: Any) -> None:
    for clip, features in zip(CLIPS, encode(encoder, CLIPS), strict=True):
        assert features.times.shape == (len(features.values),)
        assert (np.diff(features.times) > 0).all()
        assert (features.times >= 0).all()
        assert (features.times <= len(clip.samples) / SAMPLE_RATE).all()


def test_a_clip_has_the_same_features_in_a_batch_and_alone(encoder: Any) -> None:
    for clip, batched in zip(CLIPS, encode(encoder, CLIPS), strict=True):
        (alone,) = encode(encoder, [clip])
        np.testing.assert_array_equal(batched.times, alone.times)
        assert min_cosine(batched.values, alone.values) >= 0.9999


def test_the_same_audio_has_the_same_features_again(encoder: Any) -> None:
    first, second = encode(encoder, CLIPS), encode(encoder, CLIPS)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.values, b.values)


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(0, np.int16),
        np.zeros(1, np.int16),
        np.full(1, 20_000, np.int16),
        vowel(0.05),
        np.zeros(2 * SAMPLE_RATE, np.int16),
        np.resize(np.array([0, 1, 0, -1], np.int16), SAMPLE_RATE),
    ],
    ids=["empty", "one zero", "one sample", "50 ms", "digital silence", "dither"],
)
def test_silent_audio_has_no_row(encoder: Any, samples: Samples) -> None:
    (features,) = encode(encoder, [Audio("quiet", samples)])
    assert features.values.shape == (0, encoder.dim)
    assert features.values.dtype == np.float32
    assert features.times.shape == (0,)


def test_no_clips_have_no_features(encoder: Any) -> None:
    assert encode(encoder, []) == []


def test_the_samples_of_a_clip_are_not_changed(encoder: Any) -> None:
    samples = vowel(1.0)
    before = samples.copy()
    encode(encoder, [Audio("a", samples)])
    np.testing.assert_array_equal(samples, before)


def test_provenance_can_be_stored_as_json(encoder: Any) -> None:
    assert json.loads(json.dumps(encoder.provenance)) == encoder.provenance
    assert encoder.provenance


def min_cosine(rows: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    a, b = rows.astype("float64"), expected.astype("float64")
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return float(cosines.min())


# --- librosa ----------------------------------------------------------------------------------


def librosa(**options: float | None) -> Any:
    return registry.build("encoders.audio", "Encoder", "librosa", options)


def column(encoder: Any, samples: Samples, name: str) -> float:
    (features,) = encoder([Audio("a", samples)])
    return float(features.values[0, encoder.provenance["columns"].index(name)])


def test_every_column_has_its_own_name() -> None:
    encoder = librosa()
    columns = encoder.provenance["columns"]
    assert len(columns) == len(set(columns)) == encoder.dim


@pytest.mark.parametrize("hertz", [90.0, 140.0, 260.0, 450.0])
def test_pitch_is_found_to_a_quarter_of_a_semitone(hertz: float) -> None:
    pitch = column(librosa(), vowel(1.0, hertz), "pitch_voiced_p50")
    assert pitch == pytest.approx(12 * np.log2(hertz / 150), abs=0.25)


def test_twice_the_amplitude_is_six_decibels() -> None:
    encoder = librosa()
    quiet, loud = (column(encoder, vowel(1.0, level=x), "energy_mean") for x in (0.1, 0.2))
    assert loud - quiet == pytest.approx(6.02, abs=0.05)


def test_energy_is_in_decibels_of_full_scale() -> None:
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    sine = (np.sin(2 * np.pi * 300 * time) * (FULL_SCALE - 1)).astype(np.int16)
    assert column(librosa(), sine, "energy_p50") == pytest.approx(-3.01, abs=0.05)


def test_a_voice_is_voiced_and_a_hiss_is_not() -> None:
    encoder = librosa()
    assert column(encoder, vowel(1.0), "voiced_share") > 0.9
    assert column(encoder, noise(1.0, 0.1), "voiced_share") < 0.1


def test_four_swells_a_second_are_four_syllables() -> None:
    assert column(librosa(), vowel(3.0), "syllables_per_second") == pytest.approx(4, abs=0.5)


def test_silence_around_a_voice_changes_only_the_time() -> None:
    voice = vowel(1.0)
    padded = np.concatenate([np.zeros(SAMPLE_RATE, np.int16), voice, np.zeros(8000, np.int16)])
    (alone,), (within,) = (librosa()([Audio("a", samples)]) for samples in (voice, padded))
    assert alone.times[0] == pytest.approx(0.5, abs=0.05)
    assert within.times[0] == pytest.approx(1.5, abs=0.05)
    columns = librosa().provenance["columns"]
    pitch = columns.index("pitch_voiced_mean")
    assert within.values[0, pitch] == pytest.approx(alone.values[0, pitch], abs=0.2)


def test_windows_cover_the_whole_clip_and_end_with_it() -> None:
    encoder = librosa(window_seconds=1.0, hop_seconds=0.5, trim_decibels=None)
    (features,) = encoder([Audio("a", vowel(2.7))])
    assert features.times == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.2], abs=0.02)


def test_a_clip_shorter_than_a_window_is_one_window() -> None:
    (features,) = librosa(window_seconds=5.0)([Audio("a", vowel(0.8))])
    assert len(features.values) == 1


def test_a_hop_without_windows_is_refused() -> None:
    with pytest.raises(ParamsError, match="hop_seconds has no effect without window_seconds"):
        librosa(hop_seconds=1.0)


def test_windows_too_short_for_a_pitch_are_refused() -> None:
    with pytest.raises(ParamsError, match=r"window_seconds: .*greater than or equal to 0.1"):
        librosa(window_seconds=0.05)


def test_angry_actors_are_louder_than_sad_ones(shared: Path) -> None:
    encoder = librosa()
    folder = shared / "data" / "ravdess"
    energies: dict[str, list[float]] = {"05": [], "04": []}  # angry, sad
    for emotion, values in energies.items():
        for path in sorted(folder.glob(f"Actor_0[1-4]/03-01-{emotion}-02-0?-01-*.flac")):
            samples, _ = soundfile.read(path, dtype="int16")
            values.append(column(encoder, samples, "energy_mean"))
    assert len(energies["05"]) == len(energies["04"]) == 8
    assert np.mean(energies["05"]) > np.mean(energies["04"]) + 6
