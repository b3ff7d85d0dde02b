from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from filming import FRAMES_PER_SECOND, film, number_of, numbered, remux
from scipy.signal import correlate

from ecmf.data.manifest import Clip
from ecmf.decoding import container
from ecmf.decoding.clip_content import content_key
from ecmf.decoding.clip_decoder import ClipDecoder, DecodedClip
from ecmf.decoding.second_reading import SecondReading, StoredClip
from ecmf.media import RGB
from ecmf.params import DecodeVideo
from ecmf.storage.files import sha256
from ecmf.storage.jpeg import decode_jpeg
from ecmf.storage.store import Rows

SECONDS = 9.0
RATE = 22_050
PARAMS = DecodeVideo(frames=250, longest_side=64)


def noise(channels: int = 1, rate: int = RATE) -> np.ndarray:
    """Noise, in which every place can be told from every other, under a slow wave."""
    times = np.arange(int(SECONDS * rate)) / rate
    drawn = np.random.default_rng(0).normal(0, 2500, len(times)) * (1.1 + np.sin(5 * times**2))
    return np.stack([drawn.astype("int16")] * channels)


def decode(clip: Clip, params: DecodeVideo = PARAMS) -> DecodedClip:
    return ClipDecoder(params)(clip)


def numbers(frames: Rows) -> list[int]:
    return [number_of(decode_jpeg(file)) for file in frames.values]


def shift(samples: np.ndarray, whole: np.ndarray, start: float) -> float:
    """Return by how many seconds the samples are later in `whole` than at `start`."""
    around = slice(max(0, int((start - 0.2) * 16_000)), None)
    parts = (whole[around].astype("float32"), samples[:8_000].astype("float32"))
    found = correlate(*parts, mode="valid", method="fft")
    return (around.start + int(found.argmax())) / 16_000 - start


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {}),
        ("a.mkv", {}),
        ("a.mov", {"b_frames": 0, "group": 200}),
        ("a.webm", {"codec": "libvpx", "sound_codec": "libopus", "rate": 48_000}),
        ("a.avi", {"codec": "mpeg4", "sound_codec": "mp3"}),
        ("a.ts", {"codec": "mpeg2video", "sound_codec": "mp2"}),
    ],
)
def test_a_piece_is_that_interval_of_the_whole_file(tmp_path: Path, name: str, options) -> None:
    options = {"rate": RATE, **options}
    sound = noise(2, options["rate"])
    path = film(
        tmp_path / name,
        int(SECONDS * FRAMES_PER_SECOND),
        width=64,
        height=48,
        sound=sound,
        **options,
    )
    clip = Clip("a", str(path), sha256=sha256(path))
    whole = decode(clip)
    shown_numbers = np.array(numbers(whole.frames))
    with av.open(path) as file:
        begin = file.start_time / av.time_base
    for start, end in (("", "1.2"), ("3.3", "5.82"), ("7.0", "")):
        piece = decode(replace(clip, start=start, end=end))
        assert (piece.frames.state, piece.audio.state) == ("whole", "whole"), piece
        first, last = float(start or 0), float(end or 9.1)
        times = whole.frames.facts["starts_at"] - begin + whole.frames.times
        shown = np.flatnonzero((times > first - 0.038) & (times < last - 0.002))
        assert numbers(piece.frames) == shown_numbers[shown].tolist()
        found = piece.frames.facts["starts_at"] - begin + piece.frames.times
        np.testing.assert_allclose(found, times[shown], atol=0.002)
        assert piece.frames.facts["decoded_seconds"] == pytest.approx(last - first, abs=0.2)
        assert piece.audio.facts["decoded_seconds"] == pytest.approx(last - first, abs=0.2)
        late = whole.audio.facts["starts_at"] - begin
        at = shift(piece.audio.values, whole.audio.values, max(0, first - late))
        assert abs(at) < 0.003


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.wav", {}), ("a.flac", {}), ("a.ogg", {}), ("a.mp3", {})],
)
def test_a_piece_of_a_sound_file_is_that_interval(tmp_path: Path, name: str, options) -> None:
    soundfile.write(tmp_path / name, noise()[0], RATE, **options)
    clip = Clip("a", audio=str(tmp_path / name))
    whole = decode(clip).audio
    for start, end in ((0.0, 1.5), (4.321, 6.5), (8.0, 8.75)):
        piece = decode(replace(clip, start=str(start), end=str(end))).audio
        assert piece.state == "whole"
        assert len(piece.values) == pytest.approx((end - start) * 16_000, abs=1)
        assert abs(shift(piece.values, whole.values, start)) < 0.001
        late = piece.facts["starts_at"] - whole.facts["starts_at"]
        assert late == pytest.approx(start, abs=0.001)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.wav", "a.flac"])
def test_a_piece_is_read_without_the_rest_of_the_file(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    sound = np.tile(noise(), 4)
    if name in ("a.wav", "a.flac"):
        soundfile.write(path, sound[0], RATE)
        clip = Clip("a", audio=str(path), start="25", end="27")
    else:
        frames = int(4 * SECONDS * FRAMES_PER_SECOND)
        images = [np.roll(numbered(7, 64, 48), number, axis=0) for number in range(frames)]
        film(path, images=images, sound=None if path.suffix == ".mkv" else sound, rate=RATE)
        clip = Clip("a", str(path), start="25", end="27")
    demuxed = []

    class Counting:
        """A container that counts the bytes of the packets it gives."""

        def __init__(self, inner: object) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> object:
            return getattr(self._inner, name)

        def __enter__(self) -> "Counting":
            return self

        def __exit__(self, *error: object) -> None:
            self._inner.close()

        def demux(self, streams: object):
            for packet in self._inner.demux(streams):
                demuxed.append(packet.size)
                yield packet

    opened = container.open_container
    monkeypatch.setattr("ecmf.decoding.demuxer.open_container", lambda path: Counting(opened(path)))
    piece = decode(clip)
    assert len(piece.audio.values) in ((0,) if path.suffix == ".mkv" else range(31_999, 32_002))
    assert len(piece.frames.values) == (50 if clip.video else 0)
    assert sum(demuxed) < 0.25 * path.stat().st_size


def test_faces_are_cut_from_the_frames_of_the_piece(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", 225)
    clip = Clip("a", str(path), start="4", end="6.4", sha256=sha256(path))
    frames = decode(clip, DecodeVideo(frames=6)).frames
    assert numbers(frames) == [105, 115, 125, 135, 145, 155]

    def number(image: RGB) -> int:
        return number_of(image)

    reading = SecondReading("pyav", {}, 6)
    assert reading(StoredClip(clip, frames.times), number) == numbers(frames)


def test_a_frame_that_stays_on_the_screen_is_in_the_pieces_that_it_is_shown_in(
    tmp_path: Path,
) -> None:
    path = film(tmp_path / "a.mkv", 4, stamps=[0, 50, 100, 200], b_frames=0)
    frames = decode(Clip("a", str(path), start="3", end="7")).frames
    assert numbers(frames) == [1, 2]
    assert frames.times.tolist() == [0, 2]
    assert frames.facts["decoded_seconds"] == pytest.approx(5, abs=0.01)


def test_a_rotated_piece_is_upright(tmp_path: Path) -> None:
    path = remux(film(tmp_path / "a.mp4", 100), tmp_path / "b.mp4", rotation=90)
    frames = decode(Clip("a", str(path), start="2", end="3"), DecodeVideo(frames=1)).frames
    assert decode_jpeg(frames.values[0]).shape == (320, 240, 3)


def test_a_piece_beyond_the_end_of_its_file_fails_with_the_place(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", 50, sound=noise()[:, : 2 * RATE], rate=RATE)
    decoded = decode(Clip("a", str(path), start="5", end="6"))
    assert (decoded.frames.state, decoded.audio.state) == ("failed", "failed")
    assert "no frame between 5.00 and 6.00 s" in decoded.frames.reason
    decoded = decode(Clip("a", str(path), start="1", end="6"))
    assert (decoded.frames.state, decoded.audio.state) == ("flagged", "flagged")
    assert "claims 25 frames / 5.00 s, 25 frames / 1.00 s could be" in decoded.frames.reason


def test_decord_refuses_a_piece_and_names_the_decoder_that_reads_it(tmp_path: Path) -> None:
    clip = Clip("a", str(film(tmp_path / "a.mp4", 50)), start="1")
    assert (
        "piece of one: `decoder: pyav`" in decode(clip, DecodeVideo(decoder="decord")).frames.reason
    )


def test_pieces_of_one_file_have_keys_of_their_own(tmp_path: Path) -> None:
    clip = Clip("a", str(film(tmp_path / "a.mp4", 5)))
    pieces = [
        clip,
        replace(clip, start="1"),
        replace(clip, end="1"),
        replace(clip, start="1", end="2"),
    ]
    assert len({content_key(piece) for piece in pieces}) == 4


def test_a_file_is_hashed_once_for_all_of_its_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film(tmp_path / "a.mp4", 100)
    clip = Clip("a", str(path), sha256=sha256(path))
    read = []
    monkeypatch.setattr(
        "ecmf.storage.files.sha256", lambda *paths: read.append(paths) or sha256(*paths)
    )
    for start in ("0", "1", "2"):
        assert decode(replace(clip, start=start)).frames.state == "whole"
    assert len(read) == 1
    path.write_bytes(path.read_bytes() + b"more")
    assert decode(clip).frames.reason.startswith("changed since it was indexed")
