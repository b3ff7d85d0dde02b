import math
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from clip_reasons import failure, flag
from filming import cut, film, number_of, remux, scribbled, tone

from ecmf.data.manifest import Clip
from ecmf.decoding.clip_content import content_key
from ecmf.decoding.clip_decoder import ClipDecoder, DecodedClip
from ecmf.params import DecodeVideo
from ecmf.storage.files import sha256
from ecmf.storage.jpeg import decode_jpeg

PARAMS = DecodeVideo(frames=8)


def decode(
    video: Path | str = "", audio: Path | str = "", digest: str = "", params: DecodeVideo = PARAMS
) -> DecodedClip:
    return ClipDecoder(params)(Clip("clip", video=str(video), audio=str(audio), sha256=digest))


def stereo(seconds: float, rate: int = 16_000) -> np.ndarray:
    return np.stack([tone(seconds, rate, 300), tone(seconds, rate, 500)])


def states(decoded: DecodedClip) -> tuple[str, str]:
    return decoded.frames.state, decoded.audio.state


@pytest.fixture(params=["decord", "pyav"])
def params(request: pytest.FixtureRequest) -> DecodeVideo:
    return DecodeVideo(decoder=request.param, frames=8)


def test_a_whole_clip_gives_frames_audio_and_its_declared_length(
    tmp_path: Path, params: DecodeVideo
) -> None:
    decoded = decode(film(tmp_path / "a.mp4", 50, sound=stereo(2.0)), params=params)
    assert states(decoded) == ("whole", "whole")
    assert failure(decoded) == flag(decoded) == ""
    assert [number_of(decode_jpeg(file)) for file in decoded.frames.values] == [
        3, 9, 15, 21, 28, 34, 40, 46,
    ]  # fmt: skip
    assert decoded.frames.times == pytest.approx(np.array([3, 9, 15, 21, 28, 34, 40, 46]) / 25)
    assert decoded.frames.facts == pytest.approx(
        {
            "starts_at": 0,
            "claimed_frames": 50,
            "claimed_seconds": 2.0,
            "decoded_frames": 50,
            "decoded_seconds": 2.0,
            "damaged_frames": 0,
        }
    )
    assert decoded.audio.facts["decoded_seconds"] == pytest.approx(2.0, abs=0.1)


def test_an_empty_file_fails(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    decoded = decode(tmp_path / "a.mp4")
    assert states(decoded) == ("failed", "failed")
    assert failure(decoded) == f"{tmp_path}/a.mp4: the file is empty (0 bytes)"


def test_a_clip_of_text_alone_has_neither_frames_nor_audio_and_a_reason() -> None:
    clip = Clip("a", transcript="Well.")
    decoded = ClipDecoder(DecodeVideo())(clip)
    assert states(decoded) == ("empty", "empty")
    assert decoded.frames.reason == "the manifest names no video"
    assert decoded.audio.reason == "the manifest names no audio"
    assert (failure(decoded), flag(decoded)) == ("", "")
    assert content_key(clip) == content_key(Clip("b", transcript="No!"))  # decoded once for all


def test_a_missing_file_fails(tmp_path: Path) -> None:
    assert failure(decode(tmp_path / "a.mp4")) == f"{tmp_path}/a.mp4: there is no such file"
    decoded = decode(tmp_path / "a.mp4", digest="0" * 64)
    assert failure(decoded) == f"{tmp_path}/a.mp4: cannot be read (No such file or directory)"


def test_text_named_mp4_fails(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("Thank you for your interest in our data set.\n" * 50)
    decoded = decode(tmp_path / "a.mp4")
    assert states(decoded) == ("failed", "failed")
    assert "a.mp4: not a media file, or cut off before its index (FFmpeg: In" in failure(decoded)


def test_a_file_cut_off_before_its_index_fails(tmp_path: Path) -> None:
    index_last = film(tmp_path / "a.mp4", 50, container={"movflags": "write_colr"})
    decoded = decode(cut(index_last, tmp_path / "half.mp4"))
    assert "half.mp4: not a media file, or cut off before its index" in failure(decoded)


def test_a_file_without_any_stream_to_decode_fails(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nHello\n\n")
    assert "a.srt: its format, srt, is not read" in failure(decode(tmp_path / "a.srt"))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_truncated_clip_is_flagged_and_keeps_its_intact_frames(
    tmp_path: Path, params: DecodeVideo, name: str
) -> None:
    whole = film(tmp_path / name, 100, sound=stereo(4.0))
    decoded = decode(cut(whole, tmp_path / f"half-{name}"), params=params)
    assert states(decoded) == ("flagged", "flagged")
    assert failure(decoded) == ""
    frames = decoded.frames
    assert frames.reason.startswith("truncated or damaged: claims ")
    assert f"{frames.facts['decoded_frames']:.0f} frames / " in frames.reason
    assert frames.facts["claimed_seconds"] == pytest.approx(4.0, abs=0.1)
    assert 0.5 < frames.facts["decoded_seconds"] < 3.5
    assert len(frames.values) == 8
    assert "of sound, " in decoded.audio.reason
    assert "truncated or damaged: claims " in flag(decoded)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.wav", "1 packets of sound are torn or could not be decoded"),
        ("a.flac", "truncated or damaged: claims 4.00 s of sound, "),
    ],
)
def test_truncated_audio_is_flagged(tmp_path: Path, name: str, reason: str) -> None:
    soundfile.write(tmp_path / name, stereo(4.0).T, 16_000)
    decoded = decode(audio=cut(tmp_path / name, tmp_path / f"half-{name}"))
    assert states(decoded) == ("empty", "flagged")
    assert decoded.audio.reason.startswith(reason)
    assert 1.5 < decoded.audio.facts["decoded_seconds"] < 2.5


def test_damage_in_the_middle_is_flagged_by_pyav_and_fails_with_decord(tmp_path: Path) -> None:
    damaged = scribbled(film(tmp_path / "a.mp4", 100), tmp_path / "damaged.mp4")
    decoded = decode(damaged, params=DecodeVideo(decoder="pyav"))
    assert states(decoded) == ("flagged", "empty")
    assert "claims 100 frames / 4.00 s, " in flag(decoded)
    decoded = decode(damaged, params=DecodeVideo(decoder="decord"))
    assert states(decoded) == ("failed", "empty")
    assert failure(decoded).startswith("frames: decord does not give all of its 100 frames")
    assert decoded.frames.facts["claimed_frames"] == 100


def test_audio_without_a_sample_is_empty(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.empty(0, "int16"), 16_000)
    decoded = decode(audio=tmp_path / "a.wav")
    assert states(decoded) == ("empty", "empty")
    assert decoded.audio.reason == "the audio track holds no sample"


def test_a_video_without_a_track_has_empty_audio(tmp_path: Path, params: DecodeVideo) -> None:
    decoded = decode(film(tmp_path / "a.mp4", 10), params=params)
    assert states(decoded) == ("whole", "empty")
    assert decoded.audio.reason == "no audio track"


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_audio_without_video_has_empty_frames(tmp_path: Path, name: str) -> None:
    soundfile.write(tmp_path / name, tone(0.5), 16_000)
    decoded = decode(tmp_path / name)
    assert states(decoded) == ("empty", "whole")
    assert decoded.frames.reason == "no video stream"
    assert decode(audio=tmp_path / name).frames.reason == "the manifest names no video"


def test_a_clip_of_one_frame_is_whole(tmp_path: Path, params: DecodeVideo) -> None:
    decoded = decode(film(tmp_path / "a.mp4", 1), params=params)
    assert decoded.frames.state == "whole"
    assert len(decoded.frames.values) == 1


def test_cover_art_is_no_video(tmp_path: Path, params: DecodeVideo) -> None:
    soundfile.write(tmp_path / "a.flac", tone(0.5), 16_000)
    with av.open(tmp_path / "a.flac") as source, av.open(tmp_path / "b.m4a", "w", "mp4") as out:
        audio = out.add_stream("aac", rate=16_000, layout="mono")
        cover = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), "uint8"), format="rgb24")
        out.mux([*cover.encode(picture.reformat(format="yuvj420p")), *cover.encode(None)])
        for frame in source.decode(audio=0):
            out.mux(audio.encode(frame))
        out.mux(audio.encode(None))
    decoded = decode(tmp_path / "b.m4a", params=params)
    assert states(decoded) == ("empty", "whole")
    assert decoded.frames.reason == "no video stream"


def test_a_separate_audio_file_replaces_the_track_of_the_video(tmp_path: Path) -> None:
    video = film(tmp_path / "a.mp4", 10, sound=stereo(0.4))
    soundfile.write(tmp_path / "a.wav", tone(0.3), 16_000)
    decoded = decode(video, tmp_path / "a.wav", sha256(video, tmp_path / "a.wav"))
    assert states(decoded) == ("whole", "whole")
    np.testing.assert_array_equal(decoded.audio.values, tone(0.3))


def test_a_broken_audio_file_leaves_the_frames_whole(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    decoded = decode(film(tmp_path / "a.mp4", 10), tmp_path / "a.wav")
    assert states(decoded) == ("whole", "failed")
    assert failure(decoded) == f"audio: {tmp_path}/a.wav: the file is empty (0 bytes)"


def test_unusable_audio_does_not_change_the_state_of_the_frames(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(1000, np.nan), 16_000, subtype="FLOAT")
    decoded = decode(tmp_path / "a.wav")
    assert states(decoded) == ("empty", "failed")
    assert "holds NaN or infinity" in decoded.audio.reason


def test_whatever_a_decoder_raises_is_the_failure_of_the_frames_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = film(tmp_path / "a.mp4", 10, sound=stereo(0.4))

    def crash(*_: object) -> None:
        raise RuntimeError("[19:46:09] no memory for a frame\nStack trace: 0x55ce")

    monkeypatch.setattr("ecmf.decoders.pyav._upright", crash)
    decoded = decode(clip)
    assert states(decoded) == ("failed", "whole")
    assert failure(decoded).startswith("frames: RuntimeError: [19:46:09] no memory for a frame (")
    assert "Stack" not in failure(decoded)


def test_whatever_decoding_sound_raises_is_the_failure_of_the_sound_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = film(tmp_path / "a.mp4", 10, sound=stereo(0.4))
    monkeypatch.setattr("ecmf.decoding.waveform._to_array", lambda frame: frame.unheard_of)
    decoded = decode(clip)
    assert states(decoded) == ("whole", "failed")
    assert failure(decoded).startswith("audio: AttributeError: ")


def test_a_clip_that_changed_since_it_was_indexed_fails(tmp_path: Path) -> None:
    clip = film(tmp_path / "a.mp4", 10)
    digest = sha256(clip)
    assert decode(clip, digest=digest).frames.state == "whole"
    scribbled(clip, clip)
    decoded = decode(clip, digest=digest)
    assert states(decoded) == ("failed", "failed")
    assert failure(decoded).startswith("changed since it was indexed: its sha256 is ")
    assert f"the manifest says {digest}" in failure(decoded)


def test_a_clip_of_neither_video_nor_audio_is_empty() -> None:
    decoded = decode()
    assert states(decoded) == ("empty", "empty")
    assert decoded.audio.reason == "the manifest names no audio"


def test_audio_that_starts_later_than_the_video_keeps_its_own_start(tmp_path: Path) -> None:
    plain = film(tmp_path / "a.mkv", 25, b_frames=0, sound=stereo(1.0), sound_codec="pcm_s16le")
    with av.open(plain) as source, av.open(tmp_path / "b.mkv", "w") as out:
        copies = [out.add_stream_from_template(stream) for stream in source.streams]
        for packet in source.demux():
            if packet.dts is not None:
                late = 500 if packet.stream.type == "audio" else 0  # milliseconds, as in any mkv
                packet.pts, packet.dts = packet.pts + late, packet.dts + late
                packet.stream = copies[packet.stream.index]
                out.mux(packet)
    decoded = decode(tmp_path / "b.mkv")
    late = decoded.audio.facts["starts_at"] - decoded.frames.facts["starts_at"]
    assert late == pytest.approx(0.5)
    assert len(decoded.audio.values) == 16_000


def test_a_file_without_a_declared_length_is_not_flagged(tmp_path: Path) -> None:
    packets = film(tmp_path / "a.mp4", 30)
    fragments = remux(
        packets, tmp_path / "b.mp4", container={"movflags": "frag_keyframe+empty_moov"}
    )
    decoded = decode(fragments, params=DecodeVideo(decoder="pyav"))
    assert decoded.frames.state == "whole"
    assert decoded.frames.facts["decoded_frames"] == 30
    claimed = decoded.frames.facts["claimed_seconds"]
    assert math.isnan(claimed) or claimed == pytest.approx(1.2, abs=0.1)


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_real_clips_are_whole(shared: Path, decoder: str) -> None:
    for video in sorted((shared / "data/ravdess_av").glob("*.mp4")):
        decoded = decode(video, params=DecodeVideo(decoder=decoder))
        assert decoded.frames.state == "whole", decoded.frames.reason
        assert len(decoded.frames.values) == 16
        assert decoded.audio.state in ("whole", "empty"), decoded.audio.reason
