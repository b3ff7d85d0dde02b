"""What every encoder of the voice promises, one body over the folder's listing; then librosa's."""

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
from ecmf.media import SAMPLES_PER_SECOND, Samples, Sound

ENCODERS = registry.names("encoders.audio")
FULL_SCALE = 32_768

MAKERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "huggingface": tiny_speech.hubert_large,
    "onnx_speech": tiny_onnx.speech,
}
"""A folder -> the options of a member that cannot do without, and what they name, made there."""


def vowel(seconds: float, hertz: float = 140.0, level: float = 0.3) -> Samples:
    """A voice's skeleton: falling harmonics that swell four times a second."""
    time = np.arange(round(seconds * SAMPLES_PER_SECOND)) / SAMPLES_PER_SECOND
    waves = sum(np.sin(2 * np.pi * hertz * n * time) / n for n in range(1, 12))
    sound = level * waves * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * time)) / 2
    return (sound * FULL_SCALE).clip(-FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def noise(seconds: float, level: float) -> Samples:
    samples = round(seconds * SAMPLES_PER_SECOND)
    return (np.random.default_rng(0).normal(0, level, samples) * FULL_SCALE).astype(np.int16)


@pytest.fixture(scope="module", params=ENCODERS)
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    name: str = request.param
    if not registry.load("encoders.audio", name).Encoder.needs_rows:
        pytest.skip("looks its features up by clip id: it has its own test")
    options = MAKERS[name](tmp_path_factory.mktemp(name)) if name in MAKERS else {}
    return registry.create("encoders.audio", "Encoder", name, options)


SOUNDS = [
    Sound("low", vowel(1.3)),
    Sound("high", vowel(0.7, 260.0)),
    Sound("hiss", noise(2.0, 0.05)),
    Sound("long", vowel(6.1, 180.0, 0.1)),
    Sound("full", np.resize(np.array([32767] * 50 + [-32768] * 50, np.int16), 16_000)),
]


def test_rows_are_finite_floats_of_the_promised_width(encoder: Any) -> None:
    for sound, features in zip(SOUNDS, encode(encoder, SOUNDS), strict=True):
        assert features.values.dtype == np.float32
        assert features.values.shape[1:] == (encoder.dim,)
        assert len(features.values) > 0, sound.clip_id
        assert np.isfinite(features.values).all()


def test_times_rise_within_the_clip(encoder: Any) -> None:
    for sound, features in zip(SOUNDS, encode(encoder, SOUNDS), strict=True):
        assert features.times.shape == (len(features.values),)
        assert (np.diff(features.times) > 0).all()
        assert (features.times >= 0).all()
        assert (features.times <= len(sound.samples) / SAMPLES_PER_SECOND).all()


def test_a_clip_gets_in_a_batch_what_it_gets_alone(encoder: Any) -> None:
    for sound, batched in zip(SOUNDS, encode(encoder, SOUNDS), strict=True):
        (alone,) = encode(encoder, [sound])
        np.testing.assert_array_equal(batched.times, alone.times)
        assert cosine(batched.values, alone.values) >= 0.9999


def test_the_same_sound_gives_the_same_numbers(encoder: Any) -> None:
    first, second = encode(encoder, SOUNDS), encode(encoder, SOUNDS)
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.values, two.values)


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(0, np.int16),
        np.zeros(1, np.int16),
        np.full(1, 20_000, np.int16),
        vowel(0.05),
        np.zeros(2 * SAMPLES_PER_SECOND, np.int16),
        np.resize(np.array([0, 1, 0, -1], np.int16), SAMPLES_PER_SECOND),
    ],
    ids=["nothing", "one zero", "one sample", "50 ms", "digital silence", "dither"],
)
def test_sound_with_nothing_in_it_gives_no_row(encoder: Any, samples: Samples) -> None:
    (features,) = encode(encoder, [Sound("quiet", samples)])
    assert features.values.shape == (0, encoder.dim)
    assert features.values.dtype == np.float32
    assert features.times.shape == (0,)


def test_no_clip_gives_no_features(encoder: Any) -> None:
    assert encode(encoder, []) == []


def test_the_clips_own_samples_are_left_as_they_were(encoder: Any) -> None:
    samples = vowel(1.0)
    before = samples.copy()
    encode(encoder, [Sound("a", samples)])
    np.testing.assert_array_equal(samples, before)


def test_provenance_can_be_kept_with_the_features(encoder: Any) -> None:
    import json

    assert json.loads(json.dumps(encoder.provenance)) == encoder.provenance
    assert encoder.provenance


def cosine(one: NDArray[np.float32], two: NDArray[np.float32]) -> float:
    a, b = one.astype("float64"), two.astype("float64")
    products = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return float(products.min())


# --- librosa ----------------------------------------------------------------------------------


def librosa(**options: float | None) -> Any:
    return registry.create("encoders.audio", "Encoder", "librosa", options)


def column(encoder: Any, samples: Samples, name: str) -> float:
    (features,) = encoder([Sound("a", samples)])
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
    time = np.arange(SAMPLES_PER_SECOND) / SAMPLES_PER_SECOND
    sine = (np.sin(2 * np.pi * 300 * time) * (FULL_SCALE - 1)).astype(np.int16)
    assert column(librosa(), sine, "energy_p50") == pytest.approx(-3.01, abs=0.05)


def test_a_voice_is_voiced_and_a_hiss_is_not() -> None:
    encoder = librosa()
    assert column(encoder, vowel(1.0), "voiced_share") > 0.9
    assert column(encoder, noise(1.0, 0.1), "voiced_share") < 0.1


def test_four_swells_a_second_are_four_syllables() -> None:
    assert column(librosa(), vowel(3.0), "syllables_per_second") == pytest.approx(4, abs=0.5)


def test_quiet_around_a_voice_changes_nothing_but_the_time() -> None:
    voice = vowel(1.0)
    padded = np.concatenate(
        [np.zeros(SAMPLES_PER_SECOND, np.int16), voice, np.zeros(8000, np.int16)]
    )
    (alone,), (within,) = (librosa()([Sound("a", samples)]) for samples in (voice, padded))
    assert alone.times[0] == pytest.approx(0.5, abs=0.05)
    assert within.times[0] == pytest.approx(1.5, abs=0.05)
    columns = librosa().provenance["columns"]
    pitch = columns.index("pitch_voiced_mean")
    assert within.values[0, pitch] == pytest.approx(alone.values[0, pitch], abs=0.2)


def test_windows_cover_the_whole_clip_and_end_with_it() -> None:
    encoder = librosa(window_seconds=1.0, hop_seconds=0.5, trim_decibels=None)
    (features,) = encoder([Sound("a", vowel(2.7))])
    assert features.times == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.2], abs=0.02)


def test_a_clip_shorter_than_a_window_is_one_window() -> None:
    (features,) = librosa(window_seconds=5.0)([Sound("a", vowel(0.8))])
    assert len(features.values) == 1


def test_a_hop_without_windows_is_refused() -> None:
    with pytest.raises(ParamsError, match="hop_seconds says nothing without window_seconds"):
        librosa(hop_seconds=1.0)


def test_windows_too_short_for_a_pitch_are_refused() -> None:
    with pytest.raises(ParamsError, match=r"window_seconds: .*greater than or equal to 0.1"):
        librosa(window_seconds=0.05)


def test_real_voices_tell_an_angry_actor_from_a_sad_one(shared: Path) -> None:
    encoder = librosa()
    folder = shared / "data" / "ravdess"
    level: dict[str, list[float]] = {"05": [], "04": []}  # angry, sad
    for emotion, found in level.items():
        for path in sorted(folder.glob(f"Actor_0[1-4]/03-01-{emotion}-02-0?-01-*.flac")):
            samples, _ = soundfile.read(path, dtype="int16")
            found.append(column(encoder, samples, "energy_mean"))
    assert len(level["05"]) == len(level["04"]) == 8
    assert np.mean(level["05"]) > np.mean(level["04"]) + 6
