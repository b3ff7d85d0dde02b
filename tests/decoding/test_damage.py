"""Damage that a file does not declare is found: holes, cut tails, distorted pictures, silence."""

import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clip_reasons import failure, flag
from filming import FRAMES_PER_SECOND, cut, film, number_of, tone

from ecmf.data.manifest import Clip
from ecmf.decoding.clip_decoder import ClipDecoder, DecodedClip
from ecmf.params import DecodeVideo
from ecmf.storage.jpeg import decode_jpeg

LIVE = {"live": "1"}
FLV = {"codec": "flv", "b_frames": 0, "sound_codec": "libmp3lame", "rate": 44_100}


def decode(path: Path, decoder: str = "pyav", frames: int = 16) -> DecodedClip:
    return ClipDecoder(DecodeVideo(decoder=decoder, frames=frames))(Clip("a", video=str(path)))


def noisy(frames: int, seed: int = 0) -> list[np.ndarray]:
    """Return pictures that do not compress, so that bytes are spread evenly over a file."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (96, 128, 3), "uint8") for _ in range(frames)]


def holed(path: Path, begin: float = 0.35, end: float = 0.65) -> Path:
    """Remove a share of the bytes from the middle of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * begin)] + content[int(len(content) * end) :])
    return path


def assert_frames_match_times(decoded: DecodedClip) -> None:
    shown = [number_of(decode_jpeg(file)) for file in decoded.frames.values]
    assert shown == np.rint(decoded.frames.times * FRAMES_PER_SECOND).astype(int).tolist()


@pytest.mark.parametrize("name", ["a.mkv", "a.flv"])
def test_a_hole_in_the_middle_is_found_in_pictures_and_in_sound(tmp_path: Path, name: str) -> None:
    options: dict[str, Any] = FLV if name == "a.flv" else {"codec": "mpeg4"}
    sound = tone(4.0, options.get("rate", 16_000))[None]
    decoded = decode(holed(film(tmp_path / name, images=noisy(100), sound=sound, **options)))
    assert (decoded.frames.state, decoded.audio.state) == ("flagged", "flagged")
    assert "no frame between " in decoded.frames.reason
    assert "s of sound are missing between its timestamps" in decoded.audio.reason


def test_a_recording_of_a_screen_with_irregular_pauses_has_no_hole(tmp_path: Path) -> None:
    stamps = [0, 1, 2, 20, 21, 50, 51, 52, 53, 80, 81, 82, 110, 111]
    decoded = decode(film(tmp_path / "a.mkv", len(stamps), b_frames=0, stamps=stamps))
    assert (decoded.frames.state, decoded.frames.reason) == ("whole", "")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.gif", {"codec": "gif", "pixels": "rgb8", "b_frames": 0}),
        ("a.ts", {"codec": "mpeg2video"}),
        ("a.mkv", {"codec": "mpeg4", "container": LIVE}),
        ("a.webm", {"codec": "libvpx", "b_frames": 0, "container": LIVE}),
    ],
)
def test_a_file_without_a_declared_length_that_lacks_its_end_is_flagged(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    whole = film(tmp_path / name, images=noisy(20), **options)
    assert decode(whole).frames.state == "whole"
    decoded = decode(cut(whole, tmp_path / f"cut-{name}", 0.613))
    assert decoded.frames.state == "flagged"
    assert decoded.frames.reason


def with_flipped_bits(source: Path, target: Path, packets: range, flips: int = 2) -> Path:
    """Flip bits in the data of some packets of the video, behind their headers."""
    content = bytearray(source.read_bytes())
    rng = np.random.default_rng(1)
    with av.open(source) as container:
        for number, packet in enumerate(container.demux(video=0)):
            if number in packets and packet.pos is not None:
                for place in rng.integers(packet.size // 2, packet.size, flips):
                    content[packet.pos + int(place)] ^= 0x55
    target.write_bytes(content)
    return target


def pages(path: Path) -> list[bytes]:
    return [b"OggS" + page for page in path.read_bytes().split(b"OggS")[1:]]


def test_an_ogg_file_that_ends_between_two_pages_is_flagged(tmp_path: Path) -> None:
    """It has no torn packet and declares no length, but its last page is marked."""
    whole = film(
        tmp_path / "a.ogv", codec="libvpx", b_frames=0, images=noisy(100), rate=48_000,
        sound=tone(4.0, 48_000)[None], sound_codec="libopus",
    )  # fmt: skip
    decoded = decode(whole)
    assert (decoded.frames.reason, decoded.audio.reason) == ("", "")
    cut_off = tmp_path / "cut.ogv"
    cut_off.write_bytes(b"".join(pages(whole)[:-3]))
    decoded = decode(cut_off)
    for rows in decoded:
        assert rows.state == "flagged"
        assert "its last page is not marked as the end" in rows.reason


def test_damaged_frames_are_counted_and_intact_ones_taken_in_their_place(tmp_path: Path) -> None:
    clip = film(tmp_path / "a.mp4", 72, b_frames=0, group=24)
    decoded = decode(with_flipped_bits(clip, tmp_path / "b.mp4", range(30, 34)), frames=12)
    assert decoded.frames.state == "flagged"
    damaged = decoded.frames.facts["damaged_frames"]
    assert 1 <= damaged <= 18  # up to the next key frame
    assert f"{damaged:.0f} frames are damaged, or may be, as FFmpeg reports" in flag(decoded)
    assert_frames_match_times(decoded)
    taken = decoded.frames.times * FRAMES_PER_SECOND
    assert not set(taken.round()) & {31, 32, 33, 34}
    assert len(taken) >= 8


def test_decord_refuses_frames_that_ffmpeg_decodes_with_errors(tmp_path: Path) -> None:
    clip = film(tmp_path / "a.mp4", 72, b_frames=0, group=24)
    decoded = decode(with_flipped_bits(clip, tmp_path / "b.mp4", range(30, 34)), "decord")
    assert decoded.frames.state == "failed"
    assert "`decoder: pyav` may read it" in decoded.frames.reason


def test_a_video_that_is_damaged_from_its_first_frame_is_kept_and_flagged(tmp_path: Path) -> None:
    clip = film(tmp_path / "a.mp4", 10, b_frames=0)
    decoded = decode(with_flipped_bits(clip, tmp_path / "b.mp4", range(1), flips=40))
    assert decoded.frames.state == "flagged"
    assert len(decoded.frames.values) == 10
    assert decoded.frames.facts["damaged_frames"] == decoded.frames.facts["decoded_frames"]


def test_sound_of_which_no_packet_can_be_decoded_fails(tmp_path: Path) -> None:
    clip = film(tmp_path / "a.mp4", 25, sound=tone(1.0)[None])
    content = bytearray(clip.read_bytes())
    with av.open(clip) as container:
        for packet in container.demux(audio=0):
            if packet.size and packet.pos is not None:
                content[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    clip.write_bytes(content)
    decoded = decode(clip)
    assert (decoded.frames.state, decoded.audio.state) == ("whole", "failed")
    assert "packets of sound can be decoded" in failure(decoded)


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_digital_silence_is_named(tmp_path: Path, name: str) -> None:
    decoded = decode(film(tmp_path / name, 5, sound=np.zeros((1, 8000), "int16")))
    assert decoded.audio.state == "flagged"
    assert decoded.audio.reason == "silence: every sample is 0"
    assert len(decoded.audio.values) >= 8000


def test_sound_of_64_bit_integers_is_read(tmp_path: Path) -> None:
    clip = film(tmp_path / "a.wav", 0, sound=tone(0.2)[None], sound_codec="pcm_s64le")
    np.testing.assert_array_equal(decode(clip).audio.values, tone(0.2))


def wav(path: Path, declared: int, before: bytes = b"") -> Path:
    """Write a second of sound whose header declares a length of `declared` bytes."""
    sample_format = struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16)
    header = b"WAVEfmt " + sample_format + before + b"data" + struct.pack("<I", declared)
    length = struct.pack("<I", min(declared + 36, 2**32 - 1))
    path.write_bytes(b"RIFF" + length + header + tone(1.0).tobytes())
    return path


@pytest.mark.parametrize("declared", [32_000, 0, 2**32 - 1, 0x7FFFF000])
@pytest.mark.parametrize("before", [b"", b"LIST" + struct.pack("<I", 4) + b"INFO"])
def test_a_streamed_wav_without_a_length_is_whole(
    tmp_path: Path, declared: int, before: bytes
) -> None:
    decoded = decode(wav(tmp_path / "a.wav", declared, before))
    assert (decoded.audio.state, decoded.audio.reason) == ("whole", "")
    np.testing.assert_array_equal(decoded.audio.values, tone(1.0))


def test_a_wav_that_ends_before_its_declared_length_is_torn(tmp_path: Path) -> None:
    decoded = decode(wav(tmp_path / "a.wav", 96_000))
    assert decoded.audio.state == "flagged"
    assert "1 packets of sound are torn" in decoded.audio.reason
