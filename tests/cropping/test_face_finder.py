from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from ecmf.cropping.base import Face
from ecmf.cropping.face_finder import FaceFinder, crop, enlarge
from ecmf.media import RGB


class Recorder:
    """A detector that finds a face over the whole image from a width on, and notes the widths."""

    default_confidence = 0.5
    uses_device = False
    provenance: Mapping[str, Any] = {}

    def __init__(self, sides: tuple[int, ...], found_from: int) -> None:
        self.sides, self._found_from = sides, found_from
        self.widths: list[int] = []

    def __call__(self, image: RGB, minimum_confidence: float) -> list[Face]:
        height, width = image.shape[:2]
        self.widths.append(width)
        whole = Face(0, 0, width, height, 1)
        return [whole] if width >= self._found_from else []


@pytest.mark.parametrize(
    ("width", "found_from", "searched"),
    [
        (1000, 100, [100]),
        (1000, 400, [100, 400]),
        (1000, 500, [100, 400]),
        (200, 100, [100]),
        (200, 500, [100, 200]),
        (80, 500, [80]),
    ],
)
def test_a_frame_is_searched_at_the_next_size_only_where_nothing_was_found(
    width: int, found_from: int, searched: list[int]
) -> None:
    detector = Recorder((100, 400), found_from)
    found = FaceFinder(detector, 0.5, margin=0, largest_side=224)(
        np.zeros((width // 2, width, 3), "uint8")
    )
    assert detector.widths == searched
    if searched[-1] >= found_from:
        assert [one.face for one in found] == [Face(0, 0, width, width // 2, 1)]
    else:
        assert found == []


def test_the_margin_is_a_fraction_of_the_box_on_each_side() -> None:
    image = np.zeros((100, 100, 3), "uint8")
    image[40:60, 40:60] = 255
    box = Face(40, 40, 60, 60, 1)
    assert (crop(image, box, margin=0, largest_side=20) == 255).all()
    wide = crop(image, box, margin=0.5, largest_side=40)[..., 0] == 255
    assert wide.sum() == 20 * 20
    assert wide[10:30, 10:30].all()


def test_a_box_that_is_not_square_is_cropped_around_its_middle() -> None:
    image = np.zeros((100, 100, 3), "uint8")
    image[30:70, 40:60] = 255
    cropped = crop(image, Face(40, 30, 60, 70, 1), margin=0, largest_side=40)[..., 0]
    assert (cropped[:, 10:30] == 255).all()
    assert cropped[:, :10].max() == cropped[:, 30:].max() == 0


def test_outside_the_image_its_border_is_repeated() -> None:
    image = np.full((50, 60, 3), 7, "uint8")
    image[:, 0] = 90
    cropped = crop(image, Face(-10, 5, 10, 25, 1), margin=0, largest_side=20)
    assert (cropped[:, :11] == 90).all()
    assert (cropped[:, 11:] == 7).all()


def test_a_crop_holds_no_more_pixels_than_asked_for_and_no_more_than_the_frame() -> None:
    image = np.arange(300 * 300 * 3, dtype="uint32").astype("uint8").reshape(300, 300, 3)
    box = Face(50, 50, 150, 150, 1)
    assert crop(image, box, margin=0, largest_side=64).shape == (64, 64, 3)
    small = crop(image, box, margin=0, largest_side=224)
    assert np.array_equal(small, image[50:150, 50:150])
    assert not np.shares_memory(small, image)  # or every frame would stay in memory
    assert enlarge(small, 224).shape == (224, 224, 3)
