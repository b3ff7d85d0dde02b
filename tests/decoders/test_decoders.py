from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filming import FRAMES_PER_SECOND, cut, film, film_lossless, number_of, remux, scribbled

from ecmf import registry
from ecmf.decoding.base import DecodedFrames, Decoder, decode_frames
from ecmf.decoding.demuxer import VideoStream, open_media
from ecmf.errors import ClipError
from ecmf.media import RGB


@pytest.fixture(params=registry.names("decoders"))
def decoder(request: pytest.FixtureRequest) -> Decoder:
    return build(request.param)


def build(name: str) -> Decoder:
    decoder: Decoder = registry.build("decoders", "Decoder", name, {})
    return decoder


def unchanged(image: RGB) -> RGB:
    return image


def decode(
    decoder: Decoder, path: Path, frames: int = 16, convert: Callable[[RGB], RGB] = unchanged
) -> DecodedFrames[RGB]:
    with open_media(path, video=True, audio=False) as media:
        video = media.video_stream()
        assert video is not None
        return decode_frames(decoder, video, frames, convert)


def numbers(decoded: DecodedFrames[RGB]) -> list[int]:
    return [number_of(image) for image in decoded.converted]


def assert_frames_match_times(decoded: DecodedFrames[RGB], first: int = 0) -> None:
    """Each image is the frame of its timestamp."""
    expected = np.rint(decoded.times * FRAMES_PER_SECOND).astype(int) + first
    assert numbers(decoded) == expected.tolist()


def test_it_gives_the_frame_in_the_middle_of_each_of_n_equal_intervals(
    decoder: Decoder, tmp_path: Path
) -> None:
    decoded = decode(decoder, film(tmp_path / "clip.mp4", 50), frames=5)
    assert numbers(decoded) == [5, 15, 25, 35, 45]
    assert decoded.times == pytest.approx([0.2, 0.6, 1.0, 1.4, 1.8])
    assert decoded.timeline.seconds == pytest.approx(2.0)
    assert len(decoded.timeline.pts) == 50


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mov", "clip.mkv"])
def test_every_frame_has_its_own_timestamp(decoder: Decoder, tmp_path: Path, name: str) -> None:
    decoded = decode(decoder, film(tmp_path / name, 60), frames=60)
    assert numbers(decoded) == list(range(60))
    assert_frames_match_times(decoded)


def test_a_clip_with_fewer_frames_than_requested_gives_each_once(
    decoder: Decoder, tmp_path: Path
) -> None:
    decoded = decode(decoder, film(tmp_path / "clip.mp4", 3), frames=16)
    assert numbers(decoded) == [0, 1, 2]


def test_a_clip_of_one_frame_gives_it(decoder: Decoder, tmp_path: Path) -> None:
    decoded = decode(decoder, film(tmp_path / "clip.mp4", 1))
    assert numbers(decoded) == [0]
    assert decoded.times.tolist() == [0.0]
    assert decoded.timeline.seconds == pytest.approx(0.04)


def test_it_is_uniform_in_time_and_not_in_number_of_frames(
    decoder: Decoder, tmp_path: Path
) -> None:
    stamps = [*range(40), *range(40, 240, 20)]  # 25 frames a second, then 1.25
    decoded = decode(decoder, film(tmp_path / "clip.mp4", 50, stamps=stamps), frames=6)
    shown = [stamp / FRAMES_PER_SECOND for stamp in stamps]
    middles = [(step + 0.5) / 6 * decoded.timeline.seconds for step in range(6)]
    on_screen = [max(time for time in shown if time <= middle) for middle in middles]
    assert decoded.times == pytest.approx(on_screen)
    assert [shown[number] for number in numbers(decoded)] == pytest.approx(on_screen)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_rotated_video_comes_out_upright(decoder: Decoder, tmp_path: Path, rotation: int) -> None:
    plain = film(tmp_path / "plain.mp4", 10)
    turned = remux(plain, tmp_path / "turned.mp4", rotation=rotation)
    upright, rotated = decode(decoder, plain), decode(decoder, turned)
    for before, after in zip(upright.converted, rotated.converted, strict=True):
        np.testing.assert_array_equal(np.rot90(before, rotation // 90), after)


def test_only_the_sampled_frames_are_converted_each_once_and_of_the_file_s_own_size(
    decoder: Decoder, tmp_path: Path
) -> None:
    seen: list[RGB] = []

    def count(image: RGB) -> RGB:
        seen.append(image)
        return image[:20, :30]

    decoded = decode(decoder, film(tmp_path / "clip.mp4", 50), frames=5, convert=count)
    assert [number_of(image) for image in seen] == [5, 15, 25, 35, 45]
    assert {image.shape for image in seen} == {(240, 320, 3)}
    assert [image.shape for image in decoded.converted] == [(20, 30, 3)] * 5


def test_odd_sizes_stay_as_they_are(decoder: Decoder, tmp_path: Path) -> None:
    clip = film(tmp_path / "odd.mp4", 5, width=161, height=121, pixels="yuv444p")
    decoded = decode(decoder, clip)
    assert decoded.converted[0].shape == (121, 161, 3)
    assert numbers(decoded) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("width", [2, 3, 6, 16, 32, 48, 72, 96, 144, 161])
def test_every_width_gives_its_pixels_and_no_padding(
    decoder: Decoder, tmp_path: Path, width: int
) -> None:
    images = [np.random.default_rng(width).integers(0, 256, (16, width, 3), "uint8")] * 2
    decoded = decode(decoder, film_lossless(tmp_path / "narrow.mkv", images))
    np.testing.assert_array_equal(decoded.converted, images)


def test_an_array_that_is_no_picture_of_the_video_is_refused(tmp_path: Path) -> None:
    clip = film(tmp_path / "clip.mp4", 5)
    honest = build("pyav")

    class Padded:
        provenance = honest.provenance

        def __call__(
            self, video: VideoStream, frames: int, convert: Callable[[RGB], Any]
        ) -> DecodedFrames[Any]:
            return honest(video, frames, lambda image: convert(np.dstack([image, image])))

    with pytest.raises(ClipError, match=r"an array of shape \(240, 320, 6\) .* of 320 x 240 pix"):
        decode(Padded(), clip)


def test_pyav_gives_all_frames_the_size_of_the_first_where_the_resolution_changes(
    tmp_path: Path,
) -> None:
    small = film(tmp_path / "a.ts", 20, b_frames=0)
    stamps = range(20, 40)
    large = film(tmp_path / "b.ts", 20, width=640, height=480, b_frames=0, stamps=stamps)
    clip = tmp_path / "both.ts"
    clip.write_bytes(small.read_bytes() + large.read_bytes())
    decoded = decode(build("pyav"), clip, frames=40)
    assert {image.shape for image in decoded.converted} == {(240, 320, 3)}
    assert numbers(decoded)[:15] == list(range(15))
    assert numbers(decoded)[-20:] == list(range(20))


def test_colours_are_red_green_blue(decoder: Decoder, tmp_path: Path, shared: Path) -> None:
    decoded = decode(decoder, shared / "data/ravdess_av/01-01-01-01-01-01-01.mp4")
    face = decoded.converted[0][200:360, 560:720].mean(axis=(0, 1))
    assert face[0] > face[2]


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_a_truncated_video_gives_its_intact_frames(
    decoder: Decoder, tmp_path: Path, name: str
) -> None:
    decoded = decode(decoder, cut(film(tmp_path / name, 100), tmp_path / f"half-{name}"), frames=8)
    assert 20 < len(decoded.timeline.pts) < 80
    assert len(decoded.converted) == 8
    assert decoded.times[-1] < decoded.timeline.seconds
    assert_frames_match_times(decoded)


def test_a_clock_that_does_not_start_at_zero_changes_nothing(
    decoder: Decoder, tmp_path: Path
) -> None:
    def delay(packet: Any, stream: object) -> None:
        shift = int(3 / packet.time_base)
        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift

    plain = film(tmp_path / "plain.mp4", 20)
    decoded = decode(decoder, remux(plain, tmp_path / "later.mkv", delay))
    assert decoded.times[0] == 0
    assert_frames_match_times(decoded)


def test_frames_cut_away_by_an_edit_list_are_left_out(decoder: Decoder, tmp_path: Path) -> None:
    def advance(packet: Any, stream: object) -> None:
        shift = int(0.4 / packet.time_base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift

    plain = film(tmp_path / "plain.mp4", 50)
    options = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    decoded = decode(decoder, remux(plain, tmp_path / "edited.mp4", advance, options), frames=100)
    assert len(decoded.converted) == 40
    assert_frames_match_times(decoded, first=10)


def test_a_video_without_timestamps_is_refused(decoder: Decoder, tmp_path: Path) -> None:
    raw = remux(film(tmp_path / "clip.mp4", 20), tmp_path / "clip.h264")
    with pytest.raises(ClipError, match="none of its 20 frames has a timestamp: convert it"):
        decode(decoder, raw)


def test_the_same_video_gives_the_same_images(decoder: Decoder, tmp_path: Path) -> None:
    clip = film(tmp_path / "clip.mp4", 30)
    first, again = decode(decoder, clip), decode(decoder, clip)
    np.testing.assert_array_equal(first.converted, again.converted)


def test_all_decoders_give_the_same_images_of_a_real_clip(decoder: Decoder, shared: Path) -> None:
    for clip in sorted((shared / "data/ravdess_av").glob("*.mp4")):
        actual, expected = decode(decoder, clip), decode(build("pyav"), clip)
        assert len(actual.converted) == 16
        np.testing.assert_array_equal(actual.converted, expected.converted)
        np.testing.assert_array_equal(actual.times, expected.times)


def test_pyav_gives_no_smeared_frame_of_a_damaged_video(tmp_path: Path) -> None:
    clip = film(tmp_path / "clip.mp4", 100)
    decoded = decode(build("pyav"), scribbled(clip, tmp_path / "damaged.mp4"), frames=100)
    assert 50 < len(decoded.converted) < 100
    assert_frames_match_times(decoded)
    assert decoded.times[-1] == pytest.approx(99 / 25)


def test_pyav_gives_no_smeared_frame_around_a_hole_in_a_transport_stream(tmp_path: Path) -> None:
    content = film(tmp_path / "clip.ts", 100).read_bytes()
    packets = [content[begin : begin + 188] for begin in range(0, len(content), 188)]
    third = len(packets) // 3
    (tmp_path / "hole.ts").write_bytes(b"".join(packets[:third] + packets[third + 9 :]))
    decoded = decode(build("pyav"), tmp_path / "hole.ts", frames=100)
    assert 50 < len(decoded.converted) < 100
    assert_frames_match_times(decoded)


def test_decord_refuses_a_damaged_video(tmp_path: Path) -> None:
    damaged = scribbled(film(tmp_path / "clip.mp4", 100), tmp_path / "damaged.mp4")
    with pytest.raises(ClipError, match="decord does not give all of its 100 frames: `decoder: py"):
        decode(build("decord"), damaged)


def test_decord_refuses_a_transport_stream_which_it_gives_a_group_of_pictures_late(
    tmp_path: Path,
) -> None:
    stream = film(tmp_path / "clip.ts", 60)
    assert numbers(decode(build("pyav"), stream, frames=60)) == list(range(60))
    with pytest.raises(ClipError, match="decord does not give all of its 60 frames"):
        decode(build("decord"), stream)


def test_decord_refuses_a_file_whose_timestamps_it_cannot_read(tmp_path: Path) -> None:
    clip = film(tmp_path / "clip.avi", 60, codec="mpeg4")
    assert numbers(decode(build("pyav"), clip, frames=60)) == list(range(60))
    with pytest.raises(ClipError, match=r"decord gives \d+ of its 60 frames other timestamps"):
        decode(build("decord"), clip)
