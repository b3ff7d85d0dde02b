"""Speech networks get the inputs that their authors give them, whatever the length of a clip."""

import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny_speech
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from ecmf import registry
from ecmf.encoding.batching import encode
from ecmf.encoding.speech_models import split_windows
from ecmf.errors import MissingFileError, ParamsError
from ecmf.media import SAMPLE_RATE, Audio, Samples

FULL_SCALE = 32_768
LAST_FOUR = [-4, -3, -2, -1]
CONVOLVED = [name for name in tiny_speech.NETWORKS if name not in ("whisper", "ast")]
PADDED = ["hubert_large", "wav2vec2_large", "wavlm_large"]

INSTRUCTION_SETS = {
    "AVX2": "avx2",
    "AVX512_CORE": "avx512bw",
    "AVX512_CORE_BF16": "avx512_bf16",
}
"""A value of ONEDNN_MAX_CPU_ISA -> the flag of /proc/cpuinfo of a processor that has it.

AMX lies above them: where a processor has it, every other test runs with it.
"""

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """Return the options of a tiny network by its name; each is saved once."""
    options: dict[str, dict[str, Any]] = {}

    def make(name: str) -> dict[str, Any]:
        if name not in options:
            options[name] = tiny_speech.NETWORKS[name](tmp_path_factory.mktemp(name))
        return options[name]

    return make


@pytest.fixture(scope="module")
def encoder(made: Callable[[str], dict[str, Any]]) -> Make:
    def make(name: str, **options: Any) -> Any:
        return registry.build("encoders.audio", "Encoder", "huggingface", made(name) | options)

    return make


def create(options: dict[str, Any], **more: Any) -> Any:
    return registry.build("encoders.audio", "Encoder", "huggingface", options | more)


def voice(samples: int, seed: int = 0) -> Samples:
    """Noise that swells and falls, off centre: no two stretches of it are alike."""
    noise = np.random.default_rng(seed).normal(300, 4000, samples)
    swell = 0.2 + np.abs(np.sin(np.arange(samples) / 5000 + seed))
    return (noise * swell).clip(-FULL_SCALE, FULL_SCALE - 1).astype("int16")


def rows(encoder: Any, samples: Samples) -> NDArray[np.float32]:
    return encode(encoder, [Audio("a", samples)])[0].values


def parts(folder: str) -> tuple[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of AST's extractor: some of its filters are empty
        extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    return transformers.AutoModel.from_pretrained(folder), extractor


def plain(folder: str, samples: Samples) -> torch.Tensor:
    """Hidden states of plain transformers for one window: (layers, tokens or steps, dim)."""
    model, extractor = parts(folder)
    sound = samples.astype("float32") / FULL_SCALE
    inputs = extractor(sound, sampling_rate=SAMPLE_RATE, return_tensors="pt")
    inputs.pop("attention_mask", None)  # all ones for a single clip
    if model.config.model_type == "whisper":
        model = model.get_encoder()
    with torch.inference_mode():
        found = model(**inputs, output_hidden_states=True)
    return torch.stack([*found.hidden_states[:-1], found.last_hidden_state])[:, 0]


def plain_steps(folder: str, samples: Samples) -> torch.Tensor:
    """Hidden states of the steps within the clip, (layers, steps, dim)."""
    states = plain(folder, samples)
    config = transformers.AutoConfig.from_pretrained(folder)
    if config.model_type == "whisper":
        return states[:, : -(-len(samples) // 320)]
    if config.model_type == "audio-spectrogram-transformer":
        frames = 1 + (len(samples) - 400) // 160
        by_time = states[:, 2:].unflatten(1, (12, 19)).mean(dim=1)
        return by_time[:, [10 * step + 16 <= frames for step in range(19)]]
    return states


# --- the numbers ------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [4000, 15_999, 27_123])
@pytest.mark.parametrize("name", tiny_speech.NETWORKS)
def test_the_steps_of_a_short_clip_are_those_of_transformers_itself(
    encoder: Make, name: str, samples: int
) -> None:
    sound = voice(samples)
    steps = encoder(name, rows="step")
    expected = plain_steps(steps._options.folder, sound)[-1]
    np.testing.assert_allclose(rows(steps, sound), expected, atol=2e-5)


@pytest.mark.parametrize("name", tiny_speech.NETWORKS)
def test_a_clip_is_the_mean_of_its_steps_summed_over_the_last_four_layers(
    encoder: Make, name: str
) -> None:
    sound = voice(23_456)
    summed = encoder(name, layers=LAST_FOUR)
    states = plain_steps(summed._options.folder, sound)
    expected = states[-4:].sum(dim=0).mean(dim=0)
    np.testing.assert_allclose(rows(summed, sound)[0], expected, rtol=2e-5, atol=2e-5)
    averaged = encoder(name, layers=[0, 2], combine="mean")
    expected = states[[0, 2]].mean(dim=(0, 1))
    np.testing.assert_allclose(rows(averaged, sound)[0], expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", tiny_speech.NETWORKS)
def test_a_real_voice_is_encoded_as_transformers_encodes_it(
    encoder: Make, name: str, shared: Path
) -> None:
    path = sorted((shared / "data" / "ravdess").glob("Actor_01/*.flac"))[0]
    samples, rate = soundfile.read(path, dtype="int16")
    assert rate == SAMPLE_RATE
    spoken = samples[12_000:40_000]
    clip = encoder(name, layers=LAST_FOUR)
    expected = plain_steps(clip._options.folder, spoken)[-4:].sum(dim=0).mean(dim=0)
    np.testing.assert_allclose(rows(clip, spoken)[0], expected, rtol=1e-4, atol=1e-4)
    assert np.isfinite(rows(clip, samples)).all()


def test_the_summary_tokens_of_ast_are_the_input_of_its_classifier(encoder: Make) -> None:
    sound = voice(20_000)
    tokens = encoder("ast", pooling="tokens")
    model, extractor = parts(tokens._options.folder)
    inputs = extractor(sound / np.float32(FULL_SCALE), sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        expected = model(**inputs).pooler_output[0]
    np.testing.assert_allclose(rows(tokens, sound)[0], expected, atol=2e-5)


def test_ast_is_the_same_where_torchaudio_is_installed(
    encoder: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = voice(20_000)
    without = rows(encoder("ast"), sound)
    module = transformers.models.audio_spectrogram_transformer
    monkeypatch.setattr(
        module.feature_extraction_audio_spectrogram_transformer,
        "is_speech_available",
        lambda: True,
    )
    assert rows(encoder("ast"), sound).tobytes() == without.tobytes()


def test_dither_of_the_settings_is_switched_off(tmp_path: Path) -> None:
    quiet = rows(create(tiny_speech.whisper(tmp_path / "quiet")), voice(20_000))
    noisy = rows(create(tiny_speech.whisper(tmp_path / "noisy", dither=0.1)), voice(20_000))
    assert noisy.tobytes() == quiet.tobytes()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", tiny_speech.NETWORKS)
def test_half_precision_is_near_float32(encoder: Make, name: str, precision: str) -> None:
    sounds = [Audio("a", voice(9000)), Audio("b", voice(21_000, 1))]
    half = encoder(name, precision=precision)
    for exact, near in zip(encode(encoder(name), sounds), encode(half, sounds), strict=True):
        assert near.values.dtype == half.dtype
        np.testing.assert_allclose(near.values, exact.values, atol=0.1)
        assert cosine(near.values, exact.values) > 0.999


@pytest.mark.parametrize(
    "name",
    [
        "AVX512_CORE",
        pytest.param("AVX2", marks=pytest.mark.slow),
        pytest.param("AVX512_CORE_BF16", marks=pytest.mark.slow),
    ],
)
def test_half_precision_is_near_float32_with_a_lower_instruction_set(
    name: str, tmp_path: Path
) -> None:
    """In a process for each: oneDNN reads the variable only once."""
    processor = Path("/proc/cpuinfo")
    if INSTRUCTION_SETS[name] not in (processor.read_text() if processor.exists() else "").split():
        pytest.skip(f"this processor has no {INSTRUCTION_SETS[name]}")
    test = test_half_precision_is_near_float32.__name__
    command = [
        *(sys.executable, "-m", "pytest", "--numprocesses=0", "-p", "no:cacheprovider", "-q"),
        *(f"--basetemp={tmp_path / 'within'}", "-k", f"{test} and bfloat16 and not instruction"),
        __file__,
    ]
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": name}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert f"{len(tiny_speech.NETWORKS)} passed" in found.stdout


# --- padding and batches ----------------------------------------------------------------------


@pytest.mark.parametrize("name", tiny_speech.NETWORKS)
def test_a_clip_gets_the_same_bits_alone_and_among_others(encoder: Make, name: str) -> None:
    clips = [
        Audio(str(n), voice(n, seed))
        for seed, n in enumerate((8000, 16_080, 31_999, 8000, 45_000, 16_079, 2900, 16_399))
    ]
    network = encoder(name, window_seconds=1.0, layers=LAST_FOUR)
    for clip, among_others in zip(clips, encode(network, clips), strict=True):
        (alone,) = encode(network, [clip])
        assert alone.values.tobytes() == among_others.values.tobytes()


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")  # WavLM's own
@pytest.mark.parametrize("name", CONVOLVED)
def test_only_networks_insensitive_to_padding_are_padded(encoder: Make, name: str) -> None:
    """Padded under a mask in plain transformers, the other networks change by 10 % and more."""
    sound = voice(16_000 + 1234)
    steps = encoder(name, rows="step")
    model, extractor = parts(steps._options.folder)
    values = torch.zeros(1, 32_080)
    values[0, : len(sound)] = torch.from_numpy(
        extractor(sound / np.float32(FULL_SCALE), sampling_rate=16_000)["input_values"][0]
    )
    mask = torch.arange(32_080)[None] < len(sound)
    with torch.inference_mode():
        padded = model(values, attention_mask=mask).last_hidden_state[0].numpy()
    unpadded = plain_steps(steps._options.folder, sound)[-1].numpy()
    same = cosine(padded[: len(unpadded)], unpadded) >= 0.9999
    (chunk,) = steps.split(Audio("a", sound))
    assert same == (name in PADDED) == ("attention_mask" in chunk.inputs)


@pytest.mark.parametrize("name", PADDED)
def test_padding_under_a_mask_changes_nothing(encoder: Make, name: str) -> None:
    for samples in (1600, 15_000, 17_000, 40_000):
        sound = voice(samples, samples)
        steps = rows(encoder(name, rows="step", layers=LAST_FOUR), sound)
        exact = plain_steps(encoder(name)._options.folder, sound)[-4:].sum(dim=0).numpy()
        assert cosine(steps, exact) >= 0.9999
        assert np.abs(steps - exact).max() <= 1e-5 * np.abs(exact).max()


@pytest.mark.parametrize("name", PADDED)
def test_clips_of_nearly_the_same_length_share_a_batch(encoder: Make, name: str) -> None:
    network = encoder(name)
    shapes = set()
    for samples in (17_000, 24_321, 31_000):
        (chunk,) = network.split(Audio("a", voice(samples)))
        shapes.add(chunk.inputs["input_values"].shape)
        assert not chunk.unbatched
        assert chunk.inputs["attention_mask"].sum() <= samples
    assert shapes == {(99 * 320 + 400,)}


@pytest.mark.parametrize("name", PADDED)
def test_every_chunk_of_a_batch_with_a_mask_is_padded(encoder: Make, name: str) -> None:
    """Without masked steps transformers drops the mask, which changes the last bits."""
    network, sound = encoder(name), voice(33_000)
    for steps in range(5, 103):
        (chunk,) = network.split(Audio("a", sound[: 320 * steps + 90]))
        assert chunk.inputs.keys() >= {"valid", "attention_mask"} or steps in (50, 100)
        assert not chunk.inputs.get("valid", np.array(False)).all()
        assert len(chunk.inputs["input_values"]) in (16_080, 32_080, 48_080)


@pytest.mark.parametrize("name", [name for name in CONVOLVED if name not in PADDED])
def test_windows_that_must_not_be_padded_keep_their_length(encoder: Make, name: str) -> None:
    network = encoder(name, window_seconds=1.0)
    for samples in (5000, 16_079, 16_080, 16_081):
        (chunk,) = network.split(Audio("a", voice(samples)))
        assert {key: value.shape for key, value in chunk.inputs.items()} == {
            "input_values": (samples,)
        }
        assert chunk.unbatched == (samples != 16_080)
    lengths = [
        (len(chunk.inputs["input_values"]), chunk.unbatched)
        for chunk in network.split(Audio("a", voice(70_000)))
    ]
    assert [length for length, unbatched in lengths if not unbatched] == [16_080] * 3
    assert len(lengths) == 5


@pytest.mark.parametrize("name", CONVOLVED)
def test_steps_are_counted_as_the_network_counts_them(encoder: Make, name: str) -> None:
    network = encoder(name, window_seconds=60)
    model, _ = parts(network._options.folder)
    for samples in range(1600, 4000, 7):
        expected = int(model._get_feat_extract_output_lengths(torch.tensor(samples)))
        assert network._windows(samples) == [(0, expected)]


# --- windows ----------------------------------------------------------------------------------


@given(steps=st.integers(-2, 5000), window_steps=st.integers(1, 1500))
def test_windows_hold_every_step_once_and_none_is_tiny(steps: int, window_steps: int) -> None:
    windows = split_windows(steps, window_steps)
    assert [step for first, end in windows for step in range(first, end)] == list(range(steps))
    for first, end in windows:
        assert min(steps, window_steps // 2) <= end - first <= window_steps


@pytest.mark.parametrize("name", tiny_speech.NETWORKS)
def test_a_long_clip_is_the_mean_of_its_windows_by_their_length(encoder: Make, name: str) -> None:
    clip = Audio("a", voice(65 * SAMPLE_RATE + 77))
    cutting = {"window_seconds": 6} if name in CONVOLVED else {}
    network = encoder(name, **cutting)
    (whole,) = encode(network, [clip])
    (windows,) = encode(encoder(name, rows="window", **cutting), [clip])
    (steps,) = encode(encoder(name, rows="step", **cutting), [clip])
    counts = [end - first for first, end in network._windows(len(clip.samples))]
    assert len(counts) > 1
    assert sum(counts) == len(steps.values)
    assert len(windows.values) == len(counts)
    mean = np.average(windows.values, axis=0, weights=counts)
    np.testing.assert_allclose(whole.values[0], mean, atol=1e-6)
    np.testing.assert_allclose(whole.values[0], steps.values.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(np.diff(steps.times), network._model.hop_length / SAMPLE_RATE)
    assert whole.times == pytest.approx(np.average(windows.times, weights=counts))
    assert 32 < whole.times[0] < 33


@pytest.mark.parametrize(
    ("name", "spans"),
    [
        ("whisper", [(0, 16_000), (16_000, 32_000), (32_000, 46_080), (46_080, 60_000)]),
        ("ast", [(0, 17_200), (16_000, 33_200), (32_000, 46_000), (44_800, 60_000)]),
    ],
)
def test_a_window_of_a_spectrogram_is_encoded_like_a_clip_that_ends_with_its_last_step(
    encoder: Make, name: str, spans: list[tuple[int, int]]
) -> None:
    sound = voice(60_000)
    windows = encoder(name, rows="window", window_seconds=1.0)
    expected = [
        plain_steps(windows._options.folder, sound[first:end])[-1].mean(dim=0)
        for first, end in spans
    ]
    np.testing.assert_allclose(rows(windows, sound), torch.stack(expected), atol=2e-5)


@pytest.mark.parametrize("name", ["hubert_base", "hubert_large"])
def test_no_sample_of_a_long_clip_is_left_out(tmp_path: Path, name: str) -> None:
    """The n-th 20 ms hold the number n, so that it can be read off the inputs of the network."""
    samples = (np.arange(65 * SAMPLE_RATE) // 320).astype("int16") + 100
    network = create(tiny_speech.NETWORKS[name](tmp_path, do_normalize=False))
    steps_read: list[int] = []
    for chunk in network.split(Audio("a", samples)):
        sound = np.rint(chunk.inputs["input_values"] * FULL_SCALE).astype(int)
        steps = sound[:-399:320][: chunk.inputs.get("valid", np.ones(2000, "bool")).sum()]
        steps_read.extend(steps - 100)
    assert steps_read == list(range(len(samples) // 320 - 1))


def test_a_waveform_is_normalised_over_the_whole_clip_as_its_authors_do(encoder: Make) -> None:
    sound = voice(50_000)
    sound[25_000:] //= 8
    network = encoder("hubert_base", window_seconds=1.0)
    _, extractor = parts(network._options.folder)
    whole = extractor(sound / np.float32(FULL_SCALE), sampling_rate=16_000)["input_values"][0]
    first, *_, last = network.split(Audio("a", sound))
    np.testing.assert_array_equal(first.inputs["input_values"], whole[:16_080])
    np.testing.assert_array_equal(
        last.inputs["input_values"], whole[-len(last.inputs["input_values"]) :]
    )


@pytest.mark.parametrize("name", tiny_speech.NETWORKS)
def test_a_window_of_silence_within_a_clip_is_finite(encoder: Make, name: str) -> None:
    sound = voice(60_000)
    sound[18_000:40_000] = 0
    (features,) = encode(encoder(name, rows="window", window_seconds=1.0), [Audio("a", sound)])
    assert len(features.values) >= 4
    assert np.isfinite(features.values).all()


def test_a_clip_too_short_for_a_step_has_no_row(encoder: Make) -> None:
    assert [len(rows(encoder("ast"), voice(samples))) for samples in (2799, 2800)] == [0, 1]
    assert [len(rows(encoder("hubert_base"), voice(samples))) for samples in (1599, 1600)] == [0, 1]


# --- posteriors of a recogniser ---------------------------------------------------------------


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return tiny_speech.recogniser(tmp_path_factory.mktemp("recogniser"))


def test_posteriors_are_the_probabilities_that_the_recogniser_gives_its_symbols(
    recogniser: dict[str, Any],
) -> None:
    sound = voice(20_000)
    _, extractor = parts(recogniser["folder"])
    network = transformers.AutoModelForCTC.from_pretrained(recogniser["folder"])
    inputs = extractor(sound / np.float32(FULL_SCALE), sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        logits = network(inputs.input_values).logits[0].double().numpy()
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = rows(create(recogniser, posteriors=True, rows="step"), sound)
    assert found.shape == (62, 9)
    assert expected.std(axis=0).max() > 0.01  # they change in time
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_posteriors_and_hidden_states_of_a_recogniser_share_their_time_axis(
    recogniser: dict[str, Any],
) -> None:
    clips = [Audio("short", voice(9_000)), Audio("long", voice(50_123))]
    options: dict[str, Any] = {"rows": "step", "window_seconds": 1.0}
    content = encode(create(recogniser, posteriors=True, **options), clips)
    emotion = encode(create(recogniser, **options), clips)
    for symbols, states in zip(content, emotion, strict=True):
        np.testing.assert_array_equal(symbols.times, states.times)
        assert (symbols.values.shape[1], states.values.shape[1]) == (9, 16)
        np.testing.assert_allclose(symbols.values.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("whisper", {}, ParamsError, "whisper is no CTC recogniser and has no posteriors"),
        ("hubert_large", {}, MissingFileError, r"lacks 2 weights of AutoModelForCTC .*lm_head"),
        ("hubert_large", {"layers": [2]}, ParamsError, "leave out layers and pooling"),
    ],
)
def test_a_network_that_recognises_nothing_has_no_posteriors(
    encoder: Make, name: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        rows(encoder(name, posteriors=True, **options), voice(8000))


# --- weights and options ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("hubert_base", {"layers": [5]}, r"layers \[5\] do not exist: .* 5 hidden states"),
        ("hubert_base", {"pooling": "tokens"}, "hubert has no summary tokens"),
        ("ast", {"pooling": "tokens", "rows": "step"}, "tokens summarise a whole window"),
        ("ast", {"window_seconds": 3}, "the network takes 1.9 s, not 3"),
        ("whisper", {"window_seconds": 2.5}, "the network takes 2 s, not 2.5"),
        ("whisper", {"window_seconds": 0.5}, "greater than or equal to 1"),
    ],
)
def test_options_that_a_network_does_not_support_are_refused_before_the_first_clip(
    encoder: Make, name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParamsError, match=message):
        encoder(name, **options)


def test_another_sampling_rate_is_refused(tmp_path: Path) -> None:
    options = tiny_speech.hubert_large(tmp_path, sampling_rate=8000)
    with pytest.raises(ParamsError, match=r"audio at 8000 Hz, .* 16000 Hz: choose"):
        create(options)


def test_a_network_of_text_is_refused(tmp_path: Path) -> None:
    config = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=8, intermediate_size=8
    )
    transformers.BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(ParamsError, match="holds 'bert', not one of hubert, wav2vec2"):
        create(tiny_speech.options(tmp_path))


def test_a_network_with_an_adapter_is_refused(tmp_path: Path) -> None:
    build = tiny_speech.waveform_network(
        transformers.Wav2Vec2Config,
        transformers.Wav2Vec2Model,
        tiny_speech.LARGE | {"add_adapter": True},
    )
    with pytest.raises(ParamsError, match="this wav2vec2 has an adapter"):
        create(build(tmp_path))


def test_weights_without_their_preprocessing_are_refused(tmp_path: Path) -> None:
    tiny_speech.hubert_large(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(MissingFileError, match="nothing that AutoFeatureExtractor can load"):
        create(tiny_speech.options(tmp_path))


@pytest.mark.parametrize("name", ["whisper", "ast"])
def test_preprocessing_of_another_network_is_refused(tmp_path: Path, name: str) -> None:
    tiny_speech.NETWORKS[name](tmp_path)
    settings = tmp_path / "preprocessor_config.json"
    for bins in ("16", "128"):
        settings.write_text(settings.read_text().replace(f": {bins},", ": 24,"))
    with pytest.raises(MissingFileError, match=r"spectrogram of \(24, .* take both from one"):
        create(tiny_speech.options(tmp_path))


def renamed(folder: Path, rename: Callable[[str], str | None]) -> dict[str, Any]:
    """Rename the weights of a folder to names of other versions; None drops one."""
    path = folder / "model.safetensors"
    weights = {new: value for name, value in load_file(path).items() if (new := rename(name))}
    save_file(weights, path, {"format": "pt"})
    return tiny_speech.options(folder)


@pytest.mark.parametrize("name", ["hubert_large", "whisper", "ast"])
def test_a_missing_weight_is_not_initialised_at_random(tmp_path: Path, name: str) -> None:
    tiny_speech.NETWORKS[name](tmp_path)
    options = renamed(tmp_path, lambda key: None if re.search(r"layers?\.2\..*bias", key) else key)
    with pytest.raises(MissingFileError, match=r"lacks .*weights of \w+.*layers\.2\."):
        rows(create(options), voice(8000))


@pytest.mark.parametrize(
    ("name", "rename"),
    [
        ("hubert_large", lambda key: None if key == "masked_spec_embed" else key),
        ("hubert_base", lambda key: f"hubert.{key}"),
        (
            "wavlm_large",
            lambda key: key.replace("parametrizations.weight.original0", "weight_g").replace(
                "parametrizations.weight.original1", "weight_v"
            ),
        ),
        ("whisper", lambda key: f"model.{key}"),
        ("whisper", lambda key: None if key.startswith("decoder.") else key),
        ("ast", lambda key: f"audio_spectrogram_transformer.{key}"),
    ],
    ids=["no mask vector", "with a head", "of torch 1", "to transcribe", "no decoder", "classify"],
)
def test_weights_are_read_as_they_are_published(
    tmp_path: Path, name: str, rename: Callable[[str], str | None]
) -> None:
    sound = voice(9000)
    expected = rows(create(tiny_speech.NETWORKS[name](tmp_path)), sound)
    assert rows(create(renamed(tmp_path, rename)), sound).tobytes() == expected.tobytes()


def test_only_the_encoder_of_whisper_is_kept(encoder: Make) -> None:
    assert type(encoder("whisper")._network).__name__ == "WhisperEncoder"


def test_weights_are_not_loaded_until_a_clip_comes(encoder: Make) -> None:
    network = encoder("hubert_large")
    assert encode(network, [Audio("silent", np.zeros(32_000, "int16"))])[0].values.shape == (0, 16)
    assert "_network" not in vars(network)


def cosine(left: NDArray[Any], right: NDArray[Any]) -> float:
    a, b = left.astype("float64"), right.astype("float64")
    return float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())
