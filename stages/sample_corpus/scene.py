"""Render an actor in front of a background from poses, and simulate a camera."""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from ecmf.media import RGB
from sample_corpus.actors import sample_looks
from sample_corpus.animation import Pose
from sample_corpus.drawing import Canvas, Image
from sample_corpus.eyes import draw_eyes, draw_forehead, draw_glasses
from sample_corpus.head import draw_head
from sample_corpus.mouth import draw_mouth
from sample_corpus.patch import CENTRE_X, CENTRE_Y
from sample_corpus.seeding import Purpose, make_rng

WIDTH, HEIGHT = 320, 240
YUV = NDArray[np.uint8]
"""An image in I420, the codec's format: luma, and below it chroma at half the resolution."""

FACE_LEFT, FACE_RIGHT, FACE_TOP, FACE_BOTTOM = 90, 390, 100, 470
"""Region of the patch in which features move; the rest is drawn once per actor."""
REDUCTION = 2
"""Heads are drawn larger than needed, and reduced by this factor before placement."""
FEATURE_SHIFT_X, FEATURE_SHIFT_Y = 16, 12
"""Pixels by which a turn or a nod of 1 moves the features on the face."""
LUMA_PER_GREY_LEVEL = 219 / 255
"""Black is stored as 16 and white as 235."""


class Scene:
    """An actor and a background: head and background are drawn once, facial features per frame."""

    def __init__(self, seed: int, actor: int) -> None:
        self._looks = sample_looks(seed, actor)
        drawn = draw_head(self._looks, seed, actor)
        self._face = drawn[FACE_TOP:FACE_BOTTOM, FACE_LEFT:FACE_RIGHT, :3].copy()
        self._head = _reduce(drawn)
        self._background = _draw_background(seed, actor)

    def render(self, pose: Pose | None) -> RGB:
        """Draw one frame, (HEIGHT, WIDTH, 3); without a pose, only the background."""
        if pose is None:
            return self._background.copy()
        patch = self._head.copy()
        top, bottom, left, right = (
            edge // REDUCTION for edge in (FACE_TOP, FACE_BOTTOM, FACE_LEFT, FACE_RIGHT)
        )
        patch[top:bottom, left:right, :3] = _reduce(self._draw_features(pose))
        actor = cv2.warpAffine(
            patch, self._placement(pose), (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR
        )
        transparency = cv2.cvtColor(255 - actor[..., 3], cv2.COLOR_GRAY2RGB)
        behind = cv2.multiply(self._background, transparency, scale=1 / 255)
        return cv2.add(behind, cv2.cvtColor(actor, cv2.COLOR_RGBA2RGB)).astype(np.uint8, copy=False)

    def _draw_features(self, pose: Pose) -> Image:
        """Draw the region of the patch in which features move: (height, width, 3)."""
        shift_x, shift_y = FEATURE_SHIFT_X * pose.turn, FEATURE_SHIFT_Y * pose.nod
        canvas = Canvas(self._face.copy(), (FACE_LEFT - shift_x, FACE_TOP - shift_y))
        draw_forehead(canvas, self._looks, pose.face)
        draw_eyes(canvas, self._looks, pose.face)
        draw_mouth(canvas, self._looks, pose.face, pose.speech)
        if self._looks.glasses:
            draw_glasses(canvas, self._looks)
        return canvas.image

    def _placement(self, pose: Pose) -> NDArray[np.float64]:
        """Return the affine map from the reduced patch to the frame: (2, 3)."""
        scale = self._looks.scale * (1 + 0.02 * pose.nod)
        x, y = ((centre + 0.5) / REDUCTION - 0.5 for centre in (CENTRE_X, CENTRE_Y))
        matrix = cv2.getRotationMatrix2D((x, y), pose.tilt, scale * REDUCTION)
        matrix[0, 2] += WIDTH / 2 + self._looks.offset_x + pose.shift_x - x
        matrix[1, 2] += HEIGHT / 2 + self._looks.offset_y + pose.shift_y - y + 4
        return np.asarray(matrix, dtype=np.float64)


def add_camera_noise(frames: Iterable[RGB], rng: np.random.Generator) -> Iterator[YUV]:
    """Add exposure per clip and grain per frame, and convert the frames to I420."""
    exposure = (rng.uniform(0.85, 1.12) - 1) * 90
    grain = rng.uniform(1, 4)
    for image in frames:
        stored = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420), dtype=np.uint8)
        coarse = rng.standard_normal((HEIGHT // 2, WIDTH // 2), dtype=np.float32)
        levels = (coarse * grain + exposure) * LUMA_PER_GREY_LEVEL
        luma = stored[:HEIGHT]
        luma[...] = cv2.add(luma, cv2.resize(levels, (WIDTH, HEIGHT)), dtype=cv2.CV_8U)
        yield stored


def _reduce(image: Image) -> Image:
    height, width = image.shape[:2]
    size = (width // REDUCTION, height // REDUCTION)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _draw_background(seed: int, actor: int) -> RGB:
    looks = sample_looks(seed, actor)
    rng = make_rng(seed, Purpose.BACKGROUND, actor)
    down, right = np.mgrid[0:HEIGHT, 0:WIDTH]
    position = (0.6 * down / HEIGHT + 0.4 * right / WIDTH)[..., None]
    colours = looks.background_top * (1 - position) + looks.background_bottom * position
    clouds = cv2.GaussianBlur(rng.standard_normal((HEIGHT, WIDTH), dtype=np.float32), (0, 0), 16)
    colours = colours + 8 * (clouds / clouds.std())[..., None]
    image = np.clip(colours, 0, 255).astype(np.uint8)
    for _ in range(3):
        left, top = int(rng.uniform(0, WIDTH)), int(rng.uniform(0, HEIGHT))
        corner = (left + int(rng.uniform(20, 90)), top + int(rng.uniform(20, 120)))
        colour = rng.uniform(50, 200) + rng.uniform(-30, 30, 3)
        cv2.rectangle(image, (left, top), corner, colour.tolist(), -1)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 5), dtype=np.uint8)
