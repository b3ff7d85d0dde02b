"""A damaged media file becomes rows with a state and a reason, never an exception or a hang."""

from pathlib import Path

import numpy as np
import pytest
from filming import film, tone
from mutants import DAMAGES, mutant
from PIL import Image

from ecmf.data.manifest import Clip
from ecmf.decoding.clip_decoder import ClipDecoder, DecodedClip
from ecmf.errors import ClipError
from ecmf.params import DecodeVideo
from ecmf.storage.jpeg import decode_jpeg

MJPEG = {"codec": "mjpeg", "pixels": "yuvj420p", "b_frames": 0}
VP8 = {"codec": "libvpx", "b_frames": 0, "sound_codec": "libopus", "rate": 48_000}
FILES = {
    "h264.mp4": {},
    "mpeg4.mkv": {"codec": "mpeg4"},
    "vp8.webm": VP8,
    "mjpeg.avi": {**MJPEG, "sound_codec": "pcm_s16le"},
    "mpeg2.ts": {"codec": "mpeg2video", "sound_codec": "mp2", "rate": 44_100},
    "flash.flv": {"codec": "flv", "b_frames": 0, "sound_codec": "libmp3lame", "rate": 44_100},
    "sound.wav": {"frames": 0, "sound_codec": "pcm_s16le"},
    "sound.flac": {"frames": 0, "sound_codec": "flac"},
    "sound.mp3": {"frames": 0, "sound_codec": "libmp3lame"},
    "moving.gif": {"codec": "gif", "pixels": "rgb8", "b_frames": 0, "silent": True},
}  # fmt: skip
"""Kinds of media and how `film` writes them."""


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return a small file of each kind."""
    folder, contents = tmp_path_factory.mktemp("media"), {}
    for name, given in FILES.items():
        options = {"frames": 20, "width": 96, "height": 72, **given}
        silent = options.pop("silent", False)
        sound = None if silent else tone(0.8, options.get("rate", 16_000))[None]
        contents[name] = film(folder / name, sound=sound, **options).read_bytes()
    Image.fromarray(np.full((64, 64, 3), 99, "uint8")).save(folder / "still.png")
    return {**contents, "still.png": (folder / "still.png").read_bytes()}


def check(decoded: DecodedClip) -> None:
    """Check that the rows are complete in themselves and that a state has its reason."""
    frames, audio = decoded
    for rows in decoded:
        assert rows.state in ("whole", "empty", "flagged", "failed")
        assert bool(rows.reason) == (rows.state != "whole")
        assert bool(len(rows)) == (rows.state in ("whole", "flagged"))
        assert rows.reason.isprintable()
    assert np.isfinite(frames.times).all() and (np.diff(frames.times) > 0).all()
    assert len(frames.times) == len(frames)
    assert len({decode_jpeg(file).shape for file in frames.values}) <= 1
    assert np.asarray(audio.values).dtype == np.int16 and not len(audio.times)


def damaged(folder: Path, clips: dict[str, bytes], seed: int) -> Path:
    """Write a mutant of a kind of file, each kind damaged in each way in turn."""
    name = list(clips)[seed // len(DAMAGES) % len(clips)]
    path = folder / name
    path.write_bytes(mutant(clips[name], seed))
    return path


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_a_damaged_file_costs_one_clip(
    tmp_path: Path, clips: dict[str, bytes], decoder: str, seed: int
) -> None:
    path = damaged(tmp_path, clips, seed)
    check(ClipDecoder(DecodeVideo(decoder=decoder))(Clip("clip", video=str(path))))


def test_a_damaged_recording_is_cut_or_left_out(
    tmp_path: Path, clips: dict[str, bytes], seed: int
) -> None:
    for package in ("silero_vad", "scenedetect"):
        pytest.importorskip(package, reason="the extra `cut` is not installed")
    from ecmf.cutting.recording import find_utterances

    lengths = {"shortest": 0.1, "longest": 15.0, "silence": 0.3, "padding": 0.1}
    try:
        spans, _ = find_utterances(damaged(tmp_path, clips, seed), **lengths)
    except ClipError:
        return
    assert all(0 <= start < end for start, end in spans)
