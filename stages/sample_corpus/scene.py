"""An actor before a background, seen by a camera: poses -> pictures."""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from ecmf.media import RGB
from sample_corpus.casting import looks_of
from sample_corpus.chance import Purpose, generator
from sample_corpus.drawing import Canvas, Picture
from sample_corpus.eyes import draw_eyes, draw_forehead, draw_glasses
from sample_corpus.head import head
from sample_corpus.mouth import draw_mouth
from sample_corpus.patch import CENTRE_X, CENTRE_Y
from sample_corpus.performance import Pose

WIDTH, HEIGHT = 320, 240
YUV = NDArray[np.uint8]
"""A picture as the codec stores it, I420: brightness above, colour at half the resolution below."""

FACE_LEFT, FACE_RIGHT, FACE_TOP, FACE_BOTTOM = 90, 390, 100, 470
"""The part of the patch where features move; outside of it an actor is drawn only once."""
REDUCTION = 2
"""Heads are drawn larger than they are shown, and reduced by this factor before they are placed."""
FEATURE_SHIFT_X, FEATURE_SHIFT_Y = 16, 12
"""Pixels by which a turn or a nod of 1 moves the features on the face."""
BRIGHTNESS_PER_GREY_LEVEL = 219 / 255
"""The codec stores black as 16 and white as 235."""


class Scene:
    """One actor's set: resting head and background are drawn once, the features per frame."""

    def __init__(self, seed: int, actor: int) -> None:
        self._looks = looks_of(seed, actor)
        drawn = head(self._looks, seed, actor)
        self._face = drawn[FACE_TOP:FACE_BOTTOM, FACE_LEFT:FACE_RIGHT, :3].copy()
        self._head = _reduced(drawn)
        self._background = _background(seed, actor)

    def picture(self, pose: Pose | None) -> RGB:
        """Draw one frame, (HEIGHT, WIDTH, 3); without a pose nobody is in the picture."""
        if pose is None:
            return self._background.copy()
        patch = self._head.copy()
        top, bottom, left, right = (
            edge // REDUCTION for edge in (FACE_TOP, FACE_BOTTOM, FACE_LEFT, FACE_RIGHT)
        )
        patch[top:bottom, left:right, :3] = _reduced(self._features(pose))
        actor = cv2.warpAffine(
            patch, self._placement(pose), (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR
        )
        transparency = cv2.cvtColor(255 - actor[..., 3], cv2.COLOR_GRAY2RGB)
        behind = cv2.multiply(self._background, transparency, scale=1 / 255)
        return cv2.add(behind, cv2.cvtColor(actor, cv2.COLOR_RGBA2RGB)).astype(np.uint8, copy=False)

    def _features(self, pose: Pose) -> Picture:
        """The part of the patch where features move: (FACE_BOTTOM - FACE_TOP, ..., 3)."""
        shift_x, shift_y = FEATURE_SHIFT_X * pose.turn, FEATURE_SHIFT_Y * pose.nod
        canvas = Canvas(self._face.copy(), (FACE_LEFT - shift_x, FACE_TOP - shift_y))
        draw_forehead(canvas, self._looks, pose.face)
        draw_eyes(canvas, self._looks, pose.face)
        draw_mouth(canvas, self._looks, pose.face, pose.speech)
        if self._looks.glasses:
            draw_glasses(canvas, self._looks)
        return canvas.picture

    def _placement(self, pose: Pose) -> NDArray[np.float64]:
        """From the reduced patch to the picture: (2, 3)."""
        scale = self._looks.scale * (1 + 0.02 * pose.nod)
        x, y = ((centre + 0.5) / REDUCTION - 0.5 for centre in (CENTRE_X, CENTRE_Y))
        matrix = cv2.getRotationMatrix2D((x, y), pose.tilt, scale * REDUCTION)
        matrix[0, 2] += WIDTH / 2 + self._looks.offset_x + pose.shift_x - x
        matrix[1, 2] += HEIGHT / 2 + self._looks.offset_y + pose.shift_y - y + 4
        return np.asarray(matrix, dtype=np.float64)


def filmed(pictures: Iterable[RGB], random: np.random.Generator) -> Iterator[YUV]:
    """Pictures -> what a camera stores: an exposure per clip, grain of its own in each frame."""
    exposure = (random.uniform(0.85, 1.12) - 1) * 90
    grain = random.uniform(1, 4)
    for picture in pictures:
        stored = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420), dtype=np.uint8)
        coarse = random.standard_normal((HEIGHT // 2, WIDTH // 2), dtype=np.float32)
        levels = (coarse * grain + exposure) * BRIGHTNESS_PER_GREY_LEVEL
        brightness = stored[:HEIGHT]
        brightness[...] = cv2.add(brightness, cv2.resize(levels, (WIDTH, HEIGHT)), dtype=cv2.CV_8U)
        yield stored


def _reduced(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    shown = (width // REDUCTION, height // REDUCTION)
    return np.asarray(cv2.resize(picture, shown, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _background(seed: int, actor: int) -> RGB:
    looks = looks_of(seed, actor)
    random = generator(seed, Purpose.BACKGROUND, actor)
    down, right = np.mgrid[0:HEIGHT, 0:WIDTH]
    position = (0.6 * down / HEIGHT + 0.4 * right / WIDTH)[..., None]
    colours = looks.background_top * (1 - position) + looks.background_bottom * position
    clouds = cv2.GaussianBlur(random.standard_normal((HEIGHT, WIDTH), dtype=np.float32), (0, 0), 16)
    colours = colours + 8 * (clouds / clouds.std())[..., None]
    picture = np.clip(colours, 0, 255).astype(np.uint8)
    for _ in range(3):
        left, top = int(random.uniform(0, WIDTH)), int(random.uniform(0, HEIGHT))
        corner = (left + int(random.uniform(20, 90)), top + int(random.uniform(20, 120)))
        colour = random.uniform(50, 200) + random.uniform(-30, 30, 3)
        cv2.rectangle(picture, (left, top), corner, colour.tolist(), -1)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 5), dtype=np.uint8)
