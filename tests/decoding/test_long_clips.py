"""The memory of a worker has a limit, however long a clip is."""

import subprocess
import sys
import wave
from pathlib import Path

import pytest
from clip_reasons import failure

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

def megabytes(path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    decoded = ClipDecoder(DecodeVideo())(Clip("a", audio=path))
    pickled, arrays = process_pool._pickled(decoded)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert decoded.audio.state == "whole", decoded.audio.reason
    return len(decoded.audio.values), (after - before) / 1024

print(*megabytes(sys.argv[1]))
"""


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


def memory_of_decoding(path: Path) -> tuple[int, float]:
    """Return the number of samples, and by how many MB decoding and sending raise the peak."""
    program = [sys.executable, "-c", PROGRAM, str(path)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    samples, megabytes = done.stdout.split()
    return int(samples), float(megabytes)


def test_sound_takes_hardly_more_memory_than_its_16_bit_samples(tmp_path: Path) -> None:
    samples, megabytes = memory_of_decoding(long_wav(tmp_path / "a.wav", 1200))
    assert samples == 1200 * 16_000  # 38 MB
    assert megabytes < 100


@pytest.mark.slow
def test_four_hours_of_sound_take_less_than_a_gigabyte(tmp_path: Path) -> None:
    samples, megabytes = memory_of_decoding(long_wav(tmp_path / "a.wav", 4 * 3600))
    assert samples == 4 * 3600 * 16_000  # 461 MB
    assert megabytes < 1024 - 300  # of which Python and its libraries take about 200


def test_sound_beyond_the_limit_fails_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waveform, "MAX_SECONDS", 1.8)
    path = long_wav(tmp_path / "a.wav", 2)
    decoded = ClipDecoder(DecodeVideo())(Clip("a", audio=str(path)))
    assert decoded.audio.state == "failed"
    assert "its sound is longer than 0.0005 hours: cut it" in failure(decoded)
