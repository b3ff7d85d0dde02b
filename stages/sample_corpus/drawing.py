"""Shapes on a picture: smooth curves, filled outlines, lines, and soft light.

Points are (points, 2), x to the right and y down, in pixels with fractions.
"""

from collections.abc import Callable, Sequence
from functools import cache

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = NDArray[np.float64]
Picture = NDArray[np.uint8]
"""Red, green, blue, and opacity where there is a fourth channel: (height, width, 3 or 4)."""

SUBPIXEL_BITS = 4
SHADE_REACH = 3
"""Soft light ends at this many standard deviations."""


@cache
def _curve_weights(points: int, samples: int) -> Points:
    """What each point contributes to each sample of a Catmull-Rom spline: (samples, points).

    Catmull and Rom, A class of local interpolating splines, 1974. The ends are mirrored.
    """
    unit = np.eye(points)
    ends = np.vstack([2 * unit[0] - unit[1], unit, 2 * unit[-1] - unit[-2]])
    t = np.linspace(0, 1, max(3, samples // (points - 1)), endpoint=False)[:, None]
    pieces = [
        0.5
        * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * (b - c) - a + d) * t**3)
        for a, b, c, d in zip(ends, ends[1:], ends[2:], ends[3:], strict=False)
    ]
    return np.vstack([*pieces, unit[-1:]])


def curve(points: Sequence[tuple[float, float]], samples: int = 16) -> Points:
    """A smooth line of about `samples` points through the given ones."""
    line: Points = _curve_weights(len(points), samples) @ np.array(points)
    return line


@cache
def _circle(samples: int, roundness: float) -> Points:
    angle = np.linspace(0, 2 * np.pi, samples, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    rounded: Points = np.sign(ring) * np.abs(ring) ** roundness
    return rounded


def ellipse(x: float, y: float, radius_x: float, radius_y: float, roundness: float = 1.0) -> Points:
    """A closed outline; a `roundness` below 1 moves it towards a rectangle."""
    return _circle(40, roundness) * (radius_x, radius_y) + (x, y)


def band(upper: Points, lower: Points) -> Points:
    """The closed outline between two lines that both run from left to right."""
    return np.concatenate([upper, lower[::-1]])


def bell(length: int, centre: float, spread: float, start: int = 0) -> NDArray[np.float32]:
    """A Gaussian of height 1 over the pixels from `start`: (length,)."""
    pixels = np.arange(start, start + length, dtype=np.float32)
    steps = (pixels - np.float32(centre)) / np.float32(spread)
    return np.exp(-steps * steps / 2)


def stencil(height: int, width: int, outline: Points) -> Picture:
    """An opaque shape on nothing, 0 to 255 with soft edges: (height, width)."""
    mask = np.zeros((height, width), dtype=np.uint8)
    cv2.fillPoly(mask, [_fixed(outline)], 255, cv2.LINE_AA, SUBPIXEL_BITS)
    return mask


def _fixed(points: Points) -> NDArray[np.int32]:
    return np.rint(points * (1 << SUBPIXEL_BITS)).astype(np.int32)


def _scalar(colour: ArrayLike) -> list[float]:
    return list(np.asarray(colour, dtype=np.float64).tolist())


class Canvas:
    """A coloured picture to draw on, whose top left pixel is the point `origin`."""

    def __init__(self, picture: Picture, origin: ArrayLike = (0, 0)) -> None:
        self.picture = picture
        self._origin = np.asarray(origin, dtype=np.float64)

    def fill(self, outline: Points, colour: ArrayLike) -> None:
        """Fill a closed outline."""
        points = [_fixed(outline - self._origin)]
        cv2.fillPoly(self.picture, points, _scalar(colour), cv2.LINE_AA, SUBPIXEL_BITS)

    def line(self, points: Points, colour: ArrayLike, thickness: int) -> None:
        """Draw a line, open at its ends."""
        fixed = [_fixed(points - self._origin)]
        cv2.polylines(
            self.picture, fixed, False, _scalar(colour), thickness, cv2.LINE_AA, SUBPIXEL_BITS
        )

    def shade(self, x: float, y: float, spread_x: float, spread_y: float, gain: float) -> None:
        """Lighten or darken softly around a point, where light is multiplied by 1 + gain."""
        height, width = self.picture.shape[:2]
        x, y = x - self._origin[0], y - self._origin[1]
        left, right = (int(x + side * SHADE_REACH * spread_x) for side in (-1, 1))
        top, bottom = (int(y + side * SHADE_REACH * spread_y) for side in (-1, 1))
        left, right, top, bottom = max(0, left), min(width, right), max(0, top), min(height, bottom)
        if left >= right or top >= bottom:
            return
        gain_here = bell(bottom - top, y, spread_y, top)[:, None] * bell(
            right - left, x, spread_x, left
        )
        factor = cv2.cvtColor(1 + np.float32(gain) * gain_here, cv2.COLOR_GRAY2RGB)
        region = self.picture[top:bottom, left:right]
        region[...] = cv2.multiply(region, factor, dtype=cv2.CV_8U)

    def inside(self, outline: Points, paint: Callable[["Canvas"], None]) -> None:
        """Show what `paint` draws through a closed outline, and nothing of it outside."""
        height, width = self.picture.shape[:2]
        points = outline - self._origin
        left, top = np.maximum(np.floor(points.min(axis=0)).astype(int) - 1, 0)
        right, bottom = np.minimum(np.ceil(points.max(axis=0)).astype(int) + 2, (width, height))
        below = self.picture[top:bottom, left:right]
        corner = np.array((left, top))
        above = Canvas(below.copy(), self._origin + corner)
        paint(above)
        mask = stencil(bottom - top, right - left, points - corner)
        opacity = mask.astype(np.float32) / 255
        below[...] = cv2.blendLinear(
            above.picture, np.ascontiguousarray(below), opacity, 1 - opacity
        )
