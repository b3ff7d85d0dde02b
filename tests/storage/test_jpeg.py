import numpy as np
import pytest

from ecmf.errors import ClipError
from ecmf.media import RGB
from ecmf.storage.jpeg import decode_jpeg, downscale, encode_jpeg


def red(height: int = 24, width: int = 32) -> RGB:
    image = np.zeros((height, width, 3), "uint8")
    image[..., 0] = 200
    return image


def test_red_stays_red_through_jpeg() -> None:
    image = decode_jpeg(encode_jpeg(red(), 95))
    assert image.shape == (24, 32, 3)
    assert np.abs(image.astype(int) - red()).max() <= 3


def test_the_same_image_gives_the_same_bytes() -> None:
    assert encode_jpeg(red(), 90) == encode_jpeg(red(), 90)


def test_a_higher_quality_takes_more_bytes() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), "uint8")
    assert len(encode_jpeg(noise, 95)) > len(encode_jpeg(noise, 50))


def test_a_view_that_is_not_contiguous_can_be_encoded() -> None:
    assert encode_jpeg(np.rot90(red()), 95) == encode_jpeg(
        np.ascontiguousarray(np.rot90(red())), 95
    )


@pytest.mark.parametrize("content", [b"", b"no image"])
def test_bytes_that_are_not_jpeg_are_refused(content: bytes) -> None:
    with pytest.raises(ClipError, match=f"{len(content)} bytes are not a JPEG image"):
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
def test_an_image_is_downscaled_by_its_longest_side(
    shape: tuple[int, int], longest_side: int, expected: tuple[int, int]
) -> None:
    assert downscale(red(*shape), longest_side).shape == (*expected, 3)


def test_downscaling_averages_areas() -> None:
    board = np.indices((64, 64)).sum(axis=0) % 2 * 200
    image = np.repeat(board[..., None], 3, axis=2).astype("uint8")
    assert np.unique(downscale(image, 32)).tolist() == [100]
