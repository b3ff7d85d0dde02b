"""The memory of a worker has a limit, however long a clip is."""

import subprocess
import sys
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from clip_reasons import failure
from PIL import Image

from ecmf.data.manifest import Clip
from ecmf.decoding import waveform
from ecmf.decoding.clip_decoder import ClipDecoder
from ecmf.params import DecodeVideo

PROGRAM = """
import resource, sys
from ecmf.data.manifest import Clip
from ecmf.decoding.clip_decoder import ClipDecoder
from ecmf.execution import process_pool
from ecmf.params import DecodeVideo

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def decode(path):
    decoded = ClipDecoder(DecodeVideo(decoder=decoder))(Clip("a", **{kind: path}))
    pickled, arrays = process_pool._pickled(decoded)
    rows = decoded.audio if kind == "audio" else decoded.frames
    assert rows.state == "whole", rows.reason
    return len(rows.values)

decoder, kind, short, path = sys.argv[1:]
decode(short)
before = peak()
print(decode(path), peak() - before, peak())
"""


def memory_of_decoding(
    path: Path, short: Path, kind: str = "video", decoder: str = "pyav"
) -> tuple[int, float, float]:
    """Return the rows of a file, by how many MB it raises the peak after `short`, and the peak."""
    program = [sys.executable, "-c", PROGRAM, decoder, kind, str(short), str(path)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    rows, raised, peak = done.stdout.split()
    return int(rows), float(raised), float(peak)


def long_wav(path: Path, seconds: int, rate: int = 8000) -> Path:
    """Write noise that repeats every second, in the rate of a telephone."""
    second = bytes(range(1, 251)) * (2 * rate // 250)
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        for _ in range(seconds):
            out.writeframesraw(second)
    return path


def long_video(
    path: Path, frames: int, size: tuple[int, int], codec: str, rate: int = 25, **options: str
) -> Path:
    """Write a video of moving stripes, every frame a key frame of the codec if it is raw."""
    columns = np.arange(size[0], dtype="uint8")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            planes = np.broadcast_to(columns + number % 50, (size[1] * 3 // 2, size[0]))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(planes), format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_sound_takes_hardly_more_memory_than_its_16_bit_samples(tmp_path: Path) -> None:
    short = long_wav(tmp_path / "short.wav", 1)
    samples, raised, _ = memory_of_decoding(long_wav(tmp_path / "a.wav", 1200), short, "audio")
    assert samples == 1200 * 16_000  # 38 MB
    assert raised < 100


@pytest.mark.slow
def test_four_hours_of_sound_take_less_than_a_gigabyte(tmp_path: Path) -> None:
    short = long_wav(tmp_path / "short.wav", 1)
    samples, _, peak = memory_of_decoding(long_wav(tmp_path / "a.wav", 4 * 3600), short, "audio")
    assert samples == 4 * 3600 * 16_000  # 461 MB
    assert peak < 1024


@pytest.mark.parametrize("decoder", ["pyav", pytest.param("decord", marks=pytest.mark.slow)])
def test_the_compressed_data_of_a_video_is_not_held_in_memory(tmp_path: Path, decoder: str) -> None:
    size = (640, 360)
    short = long_video(tmp_path / "short.avi", 20, size, "rawvideo")
    path = long_video(tmp_path / "a.avi", 300, size, "rawvideo")
    assert path.stat().st_size > 100e6
    frames, raised, _ = memory_of_decoding(path, short, decoder=decoder)
    assert frames == 16
    assert raised < 30


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_twenty_minutes_of_full_hd_take_less_than_a_gigabyte(tmp_path: Path, decoder: str) -> None:
    encoding = {"preset": "ultrafast", "crf": "40"}
    size = (1920, 1080)
    path = long_video(tmp_path / "a.mkv", 2400, size, "libx264", rate=2, **encoding)
    short = long_video(tmp_path / "short.mkv", 20, size, "libx264", rate=2, **encoding)
    frames, raised, peak = memory_of_decoding(path, short, decoder=decoder)
    assert frames == 16
    assert (raised < 100, peak < 1024) == (True, True)


@pytest.mark.slow
def test_a_hundred_thousand_frames_take_hardly_any_memory(tmp_path: Path) -> None:
    short = long_video(tmp_path / "short.avi", 20, (16, 16), "rawvideo")
    path = long_video(tmp_path / "a.avi", 100_000, (16, 16), "rawvideo", rate=100)
    frames, raised, _ = memory_of_decoding(path, short)
    assert frames == 16
    assert raised < 60


def test_frames_larger_than_8k_fail_before_they_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (9000, 4400)).save(path)
    decoded = ClipDecoder(DecodeVideo())(Clip("a", video=str(path)))
    assert decoded.frames.state == "failed"
    assert "its frames have 9000 x 4400 pixels, more than 35 million" in failure(decoded)


def test_sound_beyond_the_limit_fails_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waveform, "MAX_SECONDS", 1.8)
    path = long_wav(tmp_path / "a.wav", 2)
    decoded = ClipDecoder(DecodeVideo())(Clip("a", audio=str(path)))
    assert decoded.audio.state == "failed"
    assert "its sound is longer than 0.0005 hours: cut it" in failure(decoded)
