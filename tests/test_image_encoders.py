import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

from ecmf import plugins
from ecmf.encoders.image.base import Encoder
from ecmf.errors import ParamsError
from ecmf.files import sha256
from ecmf.media import Pictures

FAMILY = "encoders.image"
CLIPS = {"long": 5, "short": 2, "single": 1, "none": 0}
FEWER_ROWS = {"motion": 1}
"""How many rows fewer than pictures a member gives."""


def pictures(clip_id: str, count: int, width: int = 112, height: int = 112) -> Pictures:
    """Views of a photograph, each a little farther on than the one before."""
    photograph: NDArray[np.uint8] = skimage.data.astronaut()
    seed = int(hashlib.sha256(clip_id.encode()).hexdigest(), 16)
    left, top = np.random.default_rng(seed).integers(20, 200, 2)
    images = [
        photograph[top : top + height, left + 3 * i : left + 3 * i + width] for i in range(count)
    ]
    return Pictures(clip_id, images, np.arange(count) / 4 + 0.125)


@pytest.fixture(params=plugins.names(FAMILY))
def member(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, Any]]:
    """Every member of the family, with the options it cannot do without."""
    name: str = request.param
    if name == "imported":
        rng = np.random.default_rng(0)
        rows = {clip_id: rng.normal(size=(count, 6)) for clip_id, count in CLIPS.items() if count}
        np.savez(tmp_path / "features.npz", allow_pickle=False, **rows)
        path = tmp_path / "features.npz"
        return name, {"path": str(path), "sha256": sha256(path)}
    if name not in ("gradient_histogram", "colour_histogram", "motion"):
        pytest.skip(f"{name} needs weights: its own test has some")
    return name, {}


@pytest.fixture
def encoder(member: tuple[str, dict[str, Any]]) -> Encoder:
    made: Encoder = plugins.create(FAMILY, "Encoder", *member)
    return made


def test_every_row_is_finite_of_the_width_that_is_said_and_has_its_time(
    encoder: Encoder, member: tuple[str, dict[str, Any]]
) -> None:
    for clip_id, count in CLIPS.items():
        clip = pictures(clip_id, count)
        (features,) = encoder([clip])
        rows = max(0, count - FEWER_ROWS.get(member[0], 0))
        assert features.values.shape == (rows, encoder.dim)
        assert features.values.dtype == np.float32
        assert np.isfinite(features.values).all()
        assert features.times.shape == (rows,)
        if encoder.needs_rows:
            assert features.times.tolist() == clip.times[count - rows :].tolist()


def test_a_clip_gets_the_same_bits_alone_and_among_others(encoder: Encoder) -> None:
    clips = [pictures(clip_id, count) for clip_id, count in CLIPS.items()]
    clips.insert(1, pictures("long", 3, width=80, height=150))
    for clip, among_others in zip(clips, encoder(clips), strict=True):
        (alone,) = encoder([clip])
        assert alone.values.tobytes() == among_others.values.tobytes()


def test_two_encoders_of_the_same_options_agree_to_the_bit(
    encoder: Encoder, member: tuple[str, dict[str, Any]]
) -> None:
    other: Encoder = plugins.create(FAMILY, "Encoder", *member)
    clip = pictures("long", 5)
    assert encoder([clip])[0].values.tobytes() == other([clip])[0].values.tobytes()
    assert encoder.provenance == other.provenance != {}


def test_pictures_of_any_size_and_shape_are_encoded(encoder: Encoder) -> None:
    for width, height in ((320, 240), (90, 160), (17, 23)):
        (features,) = encoder([pictures("long", 5, width, height)])
        assert features.values.shape[1] == encoder.dim
        assert np.isfinite(features.values).all()


def one(name: str, **options: Any) -> Callable[..., NDArray[np.float32]]:
    encoder: Encoder = plugins.create(FAMILY, "Encoder", name, options)
    return lambda *images: encoder([Pictures("x", images, np.arange(len(images)) * 1.0)])[0].values


def test_gradients_say_which_way_edges_run_whatever_the_light() -> None:
    gradients = one("gradient_histogram", side=32, cell=16, orientations=4)
    upright = np.zeros((64, 64, 3), "uint8")
    upright[:, ::16] = 200
    lying = upright.transpose(1, 0, 2).copy()
    across, down = gradients(upright)[0], gradients(lying)[0]
    assert across @ down < 0.1 * (across @ across)
    assert np.allclose(gradients(upright // 4)[0], across, atol=0.02)


def test_what_is_trimmed_off_is_not_seen() -> None:
    picture = pictures("long", 1, 120, 120).images[0]
    framed = cv2.copyMakeBorder(picture, 20, 20, 20, 20, cv2.BORDER_CONSTANT, value=(255, 0, 0))
    trimmed = one("gradient_histogram", trim=0.125)
    assert np.array_equal(trimmed(framed), one("gradient_histogram")(picture))


def test_colour_says_which_colours_there_are_and_not_where() -> None:
    colours = one("colour_histogram")
    picture = pictures("long", 1).images[0]
    (row,) = colours(picture)
    assert np.array_equal(colours(picture[::-1, ::-1].copy())[0], row)
    assert np.isclose(np.linalg.norm(row), 1)
    red, blue = np.zeros((2, 8, 8, 3), "uint8")
    red[..., 0], blue[..., 2] = 255, 255
    assert colours(red)[0] @ colours(blue)[0] == 0


def test_motion_says_where_and_in_which_direction() -> None:
    motion = one("motion", side=64, cells=2)
    grain = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype("uint8")
    before = cv2.normalize(cv2.GaussianBlur(grain, (0, 0), 3), np.empty(0), 0, 255, cv2.NORM_MINMAX)
    after = before.copy()
    after[:32, 34:] = before[:32, 32:-2]
    still, moved = motion(before, before, after).reshape(2, 2, 2, 4)
    assert np.abs(still).max() < 1e-3
    change, length, right, down = np.moveaxis(moved, -1, 0)
    assert change.argmax() == length.argmax() == right.argmax() == 1
    assert 1 / 64 < right[0, 1] < 3 / 64
    assert abs(down[0, 1]) < 0.5 / 64


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gradient_histogram", {"side": 60}, "side 60 is no multiple of cell \\* block = 16"),
        ("motion", {"cells": 5}, "side 64 is no multiple of cells 5"),
        ("colour_histogram", {"hue": 3}, "Did you mean 'hues'"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParamsError, match=message):
        plugins.create(FAMILY, "Encoder", name, options)
