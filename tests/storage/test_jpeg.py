import numpy as np
import pytest

from ecmf.errors import ClipError
from ecmf.media import RGB
from ecmf.storage.jpeg import decode_jpeg, encode_jpeg, shrink


def red(height: int = 24, width: int = 32) -> RGB:
    picture = np.zeros((height, width, 3), "uint8")
    picture[..., 0] = 200
    return picture


def test_red_stays_red_through_jpeg() -> None:
    picture = decode_jpeg(encode_jpeg(red(), 95))
    assert picture.shape == (24, 32, 3)
    assert np.abs(picture.astype(int) - red()).max() <= 3


def test_the_same_picture_gives_the_same_bytes() -> None:
    assert encode_jpeg(red(), 90) == encode_jpeg(red(), 90)


def test_a_higher_quality_takes_more_bytes() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), "uint8")
    assert len(encode_jpeg(noise, 95)) > len(encode_jpeg(noise, 50))


def test_a_view_that_is_not_contiguous_can_be_encoded() -> None:
    assert encode_jpeg(np.rot90(red()), 95) == encode_jpeg(
        np.ascontiguousarray(np.rot90(red())), 95
    )


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_what_is_no_jpeg_is_refused(content: bytes) -> None:
    with pytest.raises(ClipError, match=f"{len(content)} bytes that are no JPEG picture"):
        decode_jpeg(content)


@pytest.mark.parametrize(
    ("shape", "longest_side", "expected"),
    [
        ((720, 1280), 320, (180, 320)),
        ((1280, 720), 320, (320, 180)),
        ((101, 75), 50, (50, 37)),
        ((10, 4000), 100, (1, 100)),
        ((240, 320), 320, (240, 320)),
        ((24, 32), 320, (24, 32)),
    ],
)
def test_a_picture_is_shrunk_by_its_longest_side(
    shape: tuple[int, int], longest_side: int, expected: tuple[int, int]
) -> None:
    assert shrink(red(*shape), longest_side).shape == (*expected, 3)


def test_shrinking_averages_areas() -> None:
    board = np.indices((64, 64)).sum(axis=0) % 2 * 200
    picture = np.repeat(board[..., None], 3, axis=2).astype("uint8")
    assert np.unique(shrink(picture, 32)).tolist() == [100]
