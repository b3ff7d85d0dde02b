"""A front end and the network after it, with real weights and with tiny ones."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import soundfile
import tiny_onnx
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ecmf import registry
from ecmf.encoding.batching import encode
from ecmf.encoding.onnx_frontend import FrontEnd
from ecmf.errors import MissingFileError, ParamsError
from ecmf.media import SAMPLE_RATE, Audio, Features, Samples
from ecmf.storage.files import sha256

FRAMES, BANDS, HOP = 76, 32, 8
"""Of the real weights; frames have 512 samples, with a hop of 160 samples."""

SAMPLES_PER_WINDOW = 75 * 160 + 512


def create(options: dict[str, Any]) -> Any:
    return registry.build("encoders.audio", "Encoder", "onnx_speech", options)


def features(encoder: Any, samples: Samples) -> Features:
    (features,) = encode(encoder, [Audio("x", samples)])
    return features


def noise(seconds: float, level: float = 3000.0) -> Samples:
    samples = round(seconds * SAMPLE_RATE)
    return np.random.default_rng(samples).normal(0, level, samples).astype(np.int16)


def session(path: str | Path) -> Any:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.fixture
def real(shared: Path) -> dict[str, Any]:
    """Options for Google's speech embedding as openWakeWord publishes it."""
    first = shared / "models" / "oww_melspectrogram.onnx"
    second = shared / "models" / "oww_embedding_model.onnx"
    return {
        "front_end": str(first),
        "front_end_sha256": sha256(first),
        "weights": str(second),
        "sha256": sha256(second),
    }


@pytest.fixture
def voices(shared: Path) -> list[Samples]:
    """Clips of real speech, from whispered to shouted."""
    paths = sorted((shared / "data" / "ravdess" / "Actor_01").glob("*.flac"))[::10]
    return [soundfile.read(path, dtype="int16")[0] for path in paths]


def frames_of(path: str | Path, samples: Samples) -> NDArray[np.float32]:
    """Compute the frames of a whole clip with the front end alone."""
    (output,) = session(path).run(None, {"input": samples.astype("float32")[None]})
    frames: NDArray[np.float32] = output.reshape(-1, output.shape[-1])
    return frames


def rows_of(options: dict[str, Any], samples: Samples) -> NDArray[np.float32]:
    """Compute the embeddings of a whole clip with both files alone."""
    frames = frames_of(options["front_end"], samples)
    windows = sliding_window_view(frames, (FRAMES, BANDS))[::HOP, 0]
    numbers = (windows / 10 + 2)[..., None].astype("float32")
    (output,) = session(options["weights"]).run(None, {"input_1": numbers})
    rows: NDArray[np.float32] = output.reshape(-1, 96)
    return rows


def test_rows_equal_those_of_a_plain_run_on_the_whole_clip(
    real: dict[str, Any], voices: list[Samples]
) -> None:
    encoder = create({**real, "rows": "window"})
    assert encoder.dim == 96
    encoded = encode(encoder, [Audio("x", voice) for voice in voices])
    for voice, windows in zip(voices, encoded, strict=True):
        np.testing.assert_allclose(windows.values, rows_of(real, voice), rtol=1e-5, atol=1e-4)


def test_a_clip_is_the_mean_and_the_deviation_of_its_windows(
    real: dict[str, Any], voices: list[Samples]
) -> None:
    voice = voices[0]
    rows = rows_of(real, voice)
    (both,), (mean,) = (
        features(create({**real, **pooling}), voice).values for pooling in ({}, {"pooling": "mean"})
    )
    np.testing.assert_allclose(mean, rows.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(both, [*rows.mean(axis=0), *rows.std(axis=0)], atol=1e-4)
    assert features(create(real), voice).times == pytest.approx([len(voice) / 2 / 16_000])


def test_the_time_of_a_window_is_its_middle(real: dict[str, Any], voices: list[Samples]) -> None:
    times = features(create({**real, "rows": "window"}), voices[0]).times
    assert times[0] == SAMPLES_PER_WINDOW / 2 / SAMPLE_RATE
    assert np.diff(times) == pytest.approx(HOP * 160 / SAMPLE_RATE)
    rest = len(voices[0]) / SAMPLE_RATE - times[-1] - times[0]
    assert 0 <= rest < (HOP + 1) * 160 / SAMPLE_RATE


def test_a_long_clip_has_the_frames_of_the_whole_wherever_it_is_cut(
    real: dict[str, Any], voices: list[Samples]
) -> None:
    front_end = FrontEnd(Path(real["front_end"]), BANDS, dynamic_range=80.0)
    assert (front_end.frame_length, front_end.hop_length) == (512, 160)
    sound = np.concatenate([*voices, np.zeros(20_000, np.int16), noise(2, 2.0)])
    whole = frames_of(real["front_end"], sound)
    assert (whole == whole.max() - 80).mean() > 0.1  # the floor does apply
    for max_frames in (1, 7, 100, len(whole) - 1, len(whole)):
        np.testing.assert_allclose(front_end(sound, max_frames), whole, rtol=0, atol=1e-4)


def test_a_clip_longer_than_one_run_of_the_front_end_equals_a_plain_run(
    real: dict[str, Any], voices: list[Samples]
) -> None:
    sound = np.tile(np.concatenate(voices), 2)
    assert len(sound) > 35 * SAMPLE_RATE
    windows = features(create({**real, "rows": "window"}), sound)
    np.testing.assert_allclose(windows.values, rows_of(real, sound), rtol=1e-5, atol=1e-4)


def test_a_loud_clip_does_not_raise_the_floor_of_other_clips_of_its_batch(
    real: dict[str, Any], voices: list[Samples]
) -> None:
    encoder = create(real)
    alone = features(encoder, voices[0])
    first, _ = encode(encoder, [Audio("a", voices[0]), Audio("b", noise(3, 15_000))])
    assert np.array_equal(first.values, alone.values)


def test_clips_can_be_split_in_several_threads(real: dict[str, Any], voices: list[Samples]) -> None:
    encoder = create(real)
    clips = [Audio("x", voice) for voice in voices] * 3
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(encoder.split, clips))
    for clip, chunks in zip(clips, together, strict=True):
        for chunk, expected in zip(chunks, encoder.split(clip), strict=True):
            assert np.array_equal(chunk.inputs["frames"], expected.inputs["frames"])


def test_audio_shorter_than_a_window_is_placed_in_the_middle_of_silence(
    real: dict[str, Any], voices: list[Samples]
) -> None:
    encoder = create(real)
    short = voices[0][20_000:26_400]
    before = (SAMPLES_PER_WINDOW - len(short)) // 2
    padded = np.pad(short, (before, SAMPLES_PER_WINDOW - len(short) - before))
    row = features(encoder, short)
    assert row.times == pytest.approx([0.2])
    np.testing.assert_allclose(row.values[0, :96], rows_of(real, padded)[0], atol=1e-4)
    assert not row.values[0, 96:].any()
    assert features(create({**real, "rows": "window"}), short).times == pytest.approx([0.2])


@pytest.fixture
def tiny(tmp_path: Path) -> dict[str, Any]:
    return tiny_onnx.speech(tmp_path)


@pytest.mark.parametrize("missing", [0, 1])
def test_a_window_counts_only_if_it_is_whole(tiny: dict[str, Any], missing: int) -> None:
    encoder = create({**tiny, "rows": "window"})
    enough = (tiny_onnx.FRAMES + 3 * 3 - 1) * tiny_onnx.HOP_LENGTH + tiny_onnx.FRAME_LENGTH
    assert len(features(encoder, noise(1)[: enough - missing]).values) == 4 - missing


def test_a_network_of_batch_size_one_equals_one_of_any_batch_size(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    one = tiny_onnx.window_network(tmp_path / "one.onnx", batch=1)
    other = create({**tiny, "weights": str(one), "sha256": sha256(one)})
    expected = features(create(tiny), noise(2)).values
    np.testing.assert_allclose(features(other, noise(2)).values, expected, rtol=1e-5)


def test_a_front_end_without_a_floor_needs_no_dynamic_range(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    path = tiny_onnx.front_end(tmp_path / "plain.onnx", has_floor=False)
    options = {**tiny, "front_end": str(path), "front_end_sha256": sha256(path)}
    assert len(features(create({**options, "dynamic_range": None}), noise(2)).values) == 1
    with pytest.raises(ParamsError, match=r"with dynamic_range: 60\.0"):
        create(options)


@pytest.mark.parametrize(
    ("file", "options", "message"),
    [
        ({}, {"dynamic_range": None}, "other frames for parts .* 60 may be right"),
        ({}, {"dynamic_range": 50.0}, "other frames for parts .* 60 may be right"),
        (
            {"subtracts_mean": True},
            {},
            "normalises audio by its mean or deviation, it cannot be used",
        ),
        ({"pads": True}, {}, "export it without padding"),
        ({}, {"frames": 13}, "takes windows of 12 frames of 8 bands, not of frames: 13"),
        ({}, {"rows": "window", "pooling": "mean"}, "pooling has no effect with rows: window"),
        ({}, {"window": "mean"}, "Extra inputs"),
    ],
)
def test_files_and_options_that_do_not_fit_are_refused_before_the_first_clip(
    tiny: dict[str, Any],
    tmp_path: Path,
    file: dict[str, bool],
    options: dict[str, Any],
    message: str,
) -> None:
    path = tiny_onnx.front_end(tmp_path / "another.onnx", **file)
    files = {**tiny, "front_end": str(path), "front_end_sha256": sha256(path)}
    with pytest.raises(ParamsError, match=message):
        create({**files, **options})


def test_a_network_of_batch_size_four_is_refused(tiny: dict[str, Any], tmp_path: Path) -> None:
    four = tiny_onnx.window_network(tmp_path / "four.onnx", batch=4)
    with pytest.raises(ParamsError, match="a fixed batch size of 4"):
        create({**tiny, "weights": str(four), "sha256": sha256(four)})


def test_swapped_files_are_refused(tiny: dict[str, Any], real: dict[str, Any]) -> None:
    swapped = {"front_end": tiny["weights"], "front_end_sha256": tiny["sha256"]}
    with pytest.raises(ParamsError, match="a front end must take audio of any length"):
        create({**tiny, **swapped})
    swapped = {"weights": tiny["front_end"], "sha256": tiny["front_end_sha256"]}
    with pytest.raises(ParamsError, match="a batch of windows"):
        create({**tiny, **swapped})
    foreign = {name: real[name] for name in ("front_end", "front_end_sha256")}
    with pytest.raises(ParamsError, match="the network takes frames of 8 numbers"):
        create({**tiny, **foreign})


@pytest.mark.parametrize("name", ["front_end", "weights"])
def test_an_absent_or_other_file_is_named(tiny: dict[str, Any], name: str) -> None:
    with pytest.raises(MissingFileError, match=f"no file 'no.onnx'.*another one in `{name}`"):
        create({**tiny, name: "no.onnx"})
    hashed = "sha256" if name == "weights" else "front_end_sha256"
    with pytest.raises(MissingFileError, match=f"set sha256: {tiny[hashed]}"):
        create({**tiny, hashed: ""})
