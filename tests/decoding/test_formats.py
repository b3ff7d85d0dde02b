"""The default decoder reads the files that cameras, browsers and phones write."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filming import FRAMES_PER_SECOND, film, number_of, numbered, tone
from PIL import Image

from ecmf.data.manifest import Clip
from ecmf.decoding.clip_decoder import ClipDecoder, DecodedClip
from ecmf.params import DecodeVideo
from ecmf.storage.jpeg import decode_jpeg

DEFAULT = DecodeVideo()
LIVE = {"live": "1"}
"""Option of the webm muxer: no duration and no cues, as a browser's MediaRecorder writes it."""

FORMATS: dict[str, dict[str, Any]] = {
    "webcam.avi": {
        "codec": "mjpeg",
        "pixels": "yuvj420p",
        "b_frames": 0,
        "sound_codec": "pcm_s16le",
    },
    "divx.avi": {"codec": "mpeg4", "sound_codec": "libmp3lame", "rate": 44_100},
    "b_frames.avi": {"codec": "libx264", "sound_codec": "pcm_s16le"},
    "old.mpg": {"codec": "mpeg1video", "sound_codec": "mp2", "rate": 44_100},
    "dvd.vob": {"codec": "mpeg2video", "sound_codec": "mp2", "rate": 48_000},
    "camcorder.mts": {"sound_codec": "ac3", "rate": 48_000},
    "broadcast.ts": {},
    "screen.mkv": {},
    "phone.mov": {},
    "phone.3gp": {"codec": "mpeg4"},
    "stream.flv": {"codec": "flv", "b_frames": 0, "sound_codec": "libmp3lame", "rate": 44_100},
    "fragmented.mp4": {"container": {"movflags": "frag_keyframe+empty_moov"}},
    "recorder.webm": {"codec": "libvpx", "b_frames": 0, "container": LIVE},
    "recorder_vp9.webm": {"codec": "libvpx-vp9", "b_frames": 0, "container": LIVE},
}
"""Arguments of `film` for each file; a webm has Opus sound of 48 kHz."""


def decode(path: Path) -> DecodedClip:
    return ClipDecoder(DEFAULT)(Clip("clip", video=str(path)))


def numbers(decoded: DecodedClip) -> list[int]:
    return [number_of(decode_jpeg(file)) for file in decoded.frames.values]


@pytest.mark.parametrize("name", FORMATS)
def test_every_container_gives_its_frames_and_its_sound(tmp_path: Path, name: str) -> None:
    options = FORMATS[name]
    if name.endswith(".webm"):
        options = {"sound_codec": "libopus", "rate": 48_000, **options}
    sound = tone(2.0, options.get("rate", 16_000))[None]
    decoded = decode(film(tmp_path / name, 50, sound=sound, **options))
    assert (decoded.frames.state, decoded.audio.state) == ("whole", "whole")
    assert numbers(decoded) == [1, 4, 7, 10, 14, 17, 20, 23, 26, 29, 32, 35, 39, 42, 45, 48]
    assert decoded.frames.times * FRAMES_PER_SECOND == pytest.approx(numbers(decoded), abs=0.05)
    assert decoded.audio.facts["decoded_seconds"] == pytest.approx(2.0, abs=0.15)


def test_an_animation_gives_its_frames_and_no_sound(tmp_path: Path) -> None:
    decoded = decode(film(tmp_path / "a.gif", 4, codec="gif", pixels="rgb8", b_frames=0))
    assert (decoded.frames.state, decoded.audio.state) == ("whole", "empty")
    assert numbers(decoded) == [0, 1, 2, 3]


def test_frames_of_a_browser_come_at_its_irregular_times(tmp_path: Path) -> None:
    stamps = [0, 1, 2, 4, 5, 8, 9, 10, 12, 20]
    path = film(tmp_path / "a.webm", 10, codec="libvpx", b_frames=0, stamps=stamps, container=LIVE)
    decoded = decode(path)
    assert decoded.frames.state == "whole"
    assert numbers(decoded) == list(range(10))
    assert decoded.frames.times * FRAMES_PER_SECOND == pytest.approx(stamps, abs=0.05)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tiff"])
def test_a_still_picture_is_a_video_of_one_frame(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(numbered(5)).save(tmp_path / f"still.{suffix}")
    decoded = decode(tmp_path / f"still.{suffix}")
    assert (decoded.frames.state, decoded.audio.state) == ("whole", "empty")
    assert (numbers(decoded), decoded.frames.times.tolist()) == ([5], [0.0])


def test_a_photograph_held_sideways_comes_out_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the tag Orientation: to be shown after a quarter turn clockwise
    sideways = np.ascontiguousarray(np.rot90(numbered(5)))
    Image.fromarray(sideways).save(tmp_path / "photo.jpg", exif=exif)
    (picture,) = decode(tmp_path / "photo.jpg").frames.values
    assert decode_jpeg(picture).shape == (240, 320, 3)
    assert number_of(decode_jpeg(picture)) == 5
