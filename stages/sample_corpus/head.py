"""Draw the static parts of a head, once per actor: hair, ears, neck, shoulders, skin and nose.

Face detectors that use gradients or brightness (HOG, Haar) need shaded eye sockets, a shadow under
the nose and bright cheeks.
"""

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from sample_corpus.actors import Looks
from sample_corpus.drawing import Canvas, Image, Points, bell, curve, ellipse, fill_mask
from sample_corpus.haircuts import fringe, hair_behind_head, long_hair
from sample_corpus.patch import CENTRE_X, CENTRE_Y, PATCH, SIDES, face_outline
from sample_corpus.seeding import Purpose, make_rng

Layer = NDArray[np.float32]
"""(PATCH, PATCH), or (PATCH, PATCH, 3) if coloured."""

NECK = np.array(
    [
        (CENTRE_X - 52, CENTRE_Y + 90),
        (CENTRE_X + 52, CENTRE_Y + 90),
        (CENTRE_X + 62, PATCH + 20),
        (CENTRE_X - 62, PATCH + 20),
    ]
)


def draw_head(looks: Looks, seed: int, actor: int) -> Image:
    """Draw the resting head of an actor: (PATCH, PATCH, 4), RGB premultiplied by opacity."""
    rng = make_rng(seed, Purpose.SKIN_AND_HAIR, actor)
    cloth = _noise(rng, 5, 5)
    hair = np.clip(looks.hair * (1 + 0.22 * _noise(rng, 1.4, 26)[..., None]), 0, 255)
    layers = _Layers()
    layers.cover(_shape(NECK, 1.5), looks.skin * 0.72)
    layers.cover(
        _shape(_shoulders()), np.clip(looks.clothes * (1 + 0.05 * cloth[..., None]), 0, 255)
    )
    _draw_back_of_head(layers, looks, hair)
    face = _shape(face_outline(looks))
    layers.cover(face, _skin(looks, face, cloth, rng))
    _draw_nose(layers, looks)
    layers.cover(_shape(fringe(looks), 2.2), hair)
    return np.dstack([layers.colours, layers.opacity * 255]).astype(np.uint8)


class _Layers:
    """An image composed from the back to the front."""

    def __init__(self) -> None:
        self.colours: Layer = np.zeros((PATCH, PATCH, 3), dtype=np.float32)
        self.opacity: Layer = np.zeros((PATCH, PATCH), dtype=np.float32)

    def cover(self, shape: Layer, colour: ArrayLike) -> None:
        self.colours += (np.asarray(colour, dtype=np.float32) - self.colours) * shape[..., None]
        self.opacity += (1 - self.opacity) * shape


def _shape(outline: Points, blur: float = 0.0) -> Layer:
    mask: Layer = np.divide(fill_mask(PATCH, PATCH, outline), 255, dtype=np.float32)
    return _blurred(mask, blur, blur) if blur else mask


def _blurred(layer: Layer, sigma_x: float, sigma_y: float) -> Layer:
    blurred = cv2.GaussianBlur(layer, (0, 0), sigmaX=sigma_x, sigmaY=sigma_y)
    return np.asarray(blurred, dtype=np.float32)


def _noise(rng: np.random.Generator, sigma_x: float, sigma_y: float) -> Layer:
    """Return smooth noise with standard deviation 1."""
    white = rng.standard_normal((PATCH, PATCH)).astype(np.float32)
    noise = _blurred(white, sigma_x, sigma_y)
    return noise / np.float32(noise.std())


def _blob(x: float, y: float, spread_x: float, spread_y: float) -> Layer:
    return bell(PATCH, y, spread_y)[:, None] * bell(PATCH, x, spread_x)


def _shoulders() -> Points:
    x, y = CENTRE_X, CENTRE_Y
    left = curve([(x - 62, y + 188), (x - 130, y + 205), (x - 215, y + 228), (-30, PATCH + 30)])
    right = left * (-1, 1) + (2 * x, 0)
    collar = [(x - 40, y + 205), (x, y + 218), (x + 40, y + 205)]
    return np.vstack([left[::-1], collar, right])


def _draw_back_of_head(layers: _Layers, looks: Looks, hair: Layer) -> None:
    outline = hair_behind_head(looks)
    if outline is not None:
        layers.cover(_shape(outline, 1.5), hair)
    if looks.haircut == "long":
        layers.cover(_shape(long_hair(looks), 4), hair * np.float32(0.85))
        layers.cover(_shape(NECK, 1.5), looks.skin * 0.72)
    if outline is None:
        for side in SIDES:
            ear = ellipse(CENTRE_X + side * (looks.face_width + 3), CENTRE_Y - 2, 15, 30)
            layers.cover(_shape(ear), looks.skin * 0.82)
        above_the_ears = np.arange(PATCH, dtype=np.float32)[:, None] < CENTRE_Y - 30
        layers.cover(_shape(face_outline(looks, 10) - (0, 14), 1.2) * above_the_ears, hair)


def _skin(looks: Looks, face: Layer, texture: Layer, rng: np.random.Generator) -> Layer:
    """Return the shaded skin over the whole patch: (PATCH, PATCH, 3)."""
    eye_y = CENTRE_Y + looks.eye_line
    pores = rng.standard_normal((PATCH, PATCH)).astype(np.float32)
    light = _shading(looks, face) * (1 + 0.012 * texture + 0.012 * pores)
    if looks.freckles:
        for x, y in rng.normal((CENTRE_X, eye_y + 45), (60, 14), (40, 2)):
            light = light * (1 - 0.22 * _blob(x, y, 1.7, 1.7))
    skin: Layer = looks.skin.astype(np.float32) * light[..., None]
    for side in SIDES:
        blush = _blob(CENTRE_X + side * looks.eye_distance * 1.2, eye_y + 58, 24, 18)
        skin = skin + blush[..., None] * np.array((6, -9, -6), dtype=np.float32)
    return np.clip(skin, 0, 255, out=skin)


def _shading(looks: Looks, face: Layer) -> Layer:
    """Return the relative brightness of each pixel of the face, about 1: (PATCH, PATCH)."""
    x, y = CENTRE_X, CENTRE_Y
    eye_y, mouth_y = y + looks.eye_line, y + looks.mouth_line
    pixels = np.arange(PATCH, dtype=np.float32)
    inside = (face > 0.5).astype(np.uint8)
    depth = np.asarray(cv2.distanceTransform(inside, cv2.DIST_L2, 3), dtype=np.float32)
    light: Layer = np.power(np.clip(depth / 62, 0, 1), 0.6, dtype=np.float32)
    light = np.float32(0.70) + np.float32(0.30) * light  # the edge turns away
    light *= (
        1
        + 0.14 * looks.light * (pixels[None] - x) / looks.face_width  # from the side
        + 0.06 * (y - pixels[:, None]) / looks.face_height  # from above
    )
    for side in SIDES:
        eye_x = side * looks.eye_distance
        light *= 1 - 0.26 * _blob(x + eye_x * 0.95, eye_y - 6, 30, 18)  # eye sockets
        light *= 1 + 0.17 * _blob(x + eye_x * 1.05, eye_y + 46, 34, 22)  # cheeks
        nose_x = x + side * looks.nose_width * 0.75
        light *= 1 - 0.17 * _blob(nose_x, eye_y + looks.nose_length * 0.55, 7, 26)
    bridge = _blob(x, eye_y + looks.nose_length * 0.45, 9, 36)
    forehead = _blob(x, eye_y - 64, 70, 26)
    light *= 1 + 0.20 * bridge + 0.10 * forehead
    light *= 1 - 0.20 * _blob(x, eye_y + looks.nose_length + 20, looks.nose_width * 0.9, 5)
    light *= 1 - 0.16 * _blob(x, mouth_y + 24, 24, 7) + 0.08 * _blob(x, mouth_y + 46, 22, 12)
    if looks.beard:
        hairs = _blob(x, mouth_y + 34, 84, 44) - 0.75 * _blob(x, mouth_y, 32, 10)
        light *= 1 - looks.beard * np.clip(hairs, 0, 1)
    return light


def _draw_nose(layers: _Layers, looks: Looks) -> None:
    canvas = Canvas(np.clip(layers.colours, 0, 255).astype(np.uint8))
    width, x, y = looks.nose_width, CENTRE_X, CENTRE_Y + looks.eye_line + looks.nose_length
    for side in SIDES:
        canvas.fill(ellipse(x + side * width * 0.5, y + 8, 6.2, 3.4), looks.skin * 0.42)
        wing = [(0.95, -6), (1.1, 3), (0.88, 10)]
        canvas.line(curve([(x + side * width * w, y + h) for w, h in wing]), looks.skin * 0.60, 2)
    tip = curve([(x - width * 0.5, y + 11), (x, y + 15), (x + width * 0.5, y + 11)])
    canvas.line(tip, looks.skin * 0.62, 2)
    layers.colours = canvas.image.astype(np.float32)
