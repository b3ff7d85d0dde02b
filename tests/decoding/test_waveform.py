from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from filming import film, tone
from numpy.typing import NDArray

from ecmf.decoding.demuxer import open_media
from ecmf.decoding.waveform import WaveformBuilder
from ecmf.errors import ClipError
from ecmf.media import Samples


def read_audio(path: Path) -> Samples:
    with open_media(path, video=False, audio=True) as media:
        track = media.audio_track()
        assert track is not None
        return track.samples


def frame(
    values: NDArray[np.generic], sample_format: str, rate: int = 16_000, layout: str = "mono"
) -> av.AudioFrame:
    audio = av.AudioFrame.from_ndarray(values, format=sample_format, layout=layout)
    audio.sample_rate = rate
    return audio


def test_16_bits_at_16_khz_are_unchanged(tmp_path: Path) -> None:
    samples = tone(0.5)
    soundfile.write(tmp_path / "a.wav", samples, 16_000)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav"), samples)


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_channels_are_averaged_with_equal_weights(tmp_path: Path, name: str) -> None:
    left, right = tone(0.5, hertz=300), tone(0.5, hertz=500)
    soundfile.write(tmp_path / name, np.stack([left, right], axis=1), 16_000)
    expected = np.rint((left.astype(float) + right) / 2)
    assert np.abs(read_audio(tmp_path / name) - expected).max() <= 0.5


def test_a_voice_in_one_channel_is_half_as_loud_in_a_video_too(tmp_path: Path) -> None:
    left = tone(0.5)
    clip = film(tmp_path / "a.mkv", 5, sound=np.stack([left, 0 * left]), sound_codec="pcm_s16le")
    np.testing.assert_array_equal(read_audio(clip), np.rint(left / 2))


@pytest.mark.parametrize(
    ("subtype", "error"),
    [("PCM_U8", 256), ("PCM_16", 0), ("PCM_24", 0), ("PCM_32", 0), ("FLOAT", 0), ("DOUBLE", 0)],
)
def test_every_sample_format_gives_the_same_loudness(
    tmp_path: Path, subtype: str, error: int
) -> None:
    samples = tone(0.2)
    soundfile.write(tmp_path / "a.wav", samples / 2.0**15, 16_000, subtype=subtype)
    assert np.abs(read_audio(tmp_path / "a.wav").astype(int) - samples).max() <= error


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_other_rates_are_resampled_to_16_khz(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1.0, rate), rate)
    samples = read_audio(tmp_path / "a.wav")
    assert len(samples) == 16_000
    assert np.abs(samples[2000:-2000].astype(int) - tone(1.0)[2000:-2000]).max() <= 20


def test_planar_and_packed_frames_give_the_same_samples() -> None:
    values = np.stack([tone(0.1, hertz=300), tone(0.1, hertz=500)])
    planar, packed = WaveformBuilder(), WaveformBuilder()
    planar.add(frame(values, "s16p", layout="stereo"))
    packed.add(frame(np.ascontiguousarray(values.T).reshape(1, -1), "s16", layout="stereo"))
    np.testing.assert_array_equal(planar.samples(), packed.samples())


def test_values_beyond_full_scale_are_clipped_and_do_not_wrap_around() -> None:
    builder = WaveformBuilder()
    builder.add(frame(np.array([[1.5, -1.5, 1.0]], "float32"), "fltp"))
    assert builder.samples().tolist() == [32767, -32768, 32767]


def test_no_frame_gives_no_sample() -> None:
    assert WaveformBuilder().samples().shape == (0,)


def test_a_rate_that_changes_is_refused() -> None:
    builder = WaveformBuilder()
    builder.add(frame(np.zeros((1, 8), "float32"), "fltp", 44_100))
    with pytest.raises(ClipError, match="sample rate changes from 44100 to 48000 Hz"):
        builder.add(frame(np.zeros((1, 8), "float32"), "fltp", 48_000))


def test_a_rate_that_no_recorder_has_is_refused() -> None:
    with pytest.raises(ClipError, match="its sample rate is 2147483647 Hz: its header is damaged"):
        WaveformBuilder().add(frame(np.zeros((1, 8), "float32"), "fltp", 2**31 - 1))


def test_nan_in_the_samples_is_refused() -> None:
    builder = WaveformBuilder()
    with pytest.raises(ClipError, match="holds NaN or infinity"):
        builder.add(frame(np.array([[0.0, np.nan]], "float32"), "fltp"))


def test_a_real_flac_gives_the_samples_soundfile_reads(shared: Path) -> None:
    path = sorted((shared / "data/ravdess").rglob("*.flac"))[0]
    expected, rate = soundfile.read(path, dtype="int16")
    assert rate == 16_000
    np.testing.assert_array_equal(read_audio(path), expected)
