"""Draw on an image: smooth curves, filled outlines, lines, and soft light.

Points are (points, 2), x to the right and y down, in pixels with fractions.
"""

from collections.abc import Callable, Sequence
from functools import cache

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = NDArray[np.float64]
Image = NDArray[np.uint8]
"""Red, green, blue, and optionally opacity: (height, width, 3 or 4)."""

SUBPIXEL_BITS = 4
SHADE_EXTENT = 3
"""Standard deviations at which soft light is cut off."""


@cache
def _curve_weights(points: int, samples: int) -> Points:
    """Return the weight of each point in each sample of a Catmull-Rom spline: (samples, points).

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
    """Interpolate a smooth line of about `samples` points through `points`."""
    line: Points = _curve_weights(len(points), samples) @ np.array(points)
    return line


@cache
def _circle(samples: int, roundness: float) -> Points:
    angle = np.linspace(0, 2 * np.pi, samples, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    rounded: Points = np.sign(ring) * np.abs(ring) ** roundness
    return rounded


def ellipse(x: float, y: float, radius_x: float, radius_y: float, roundness: float = 1.0) -> Points:
    """Return the outline of an ellipse; a `roundness` below 1 makes it more rectangular."""
    return _circle(40, roundness) * (radius_x, radius_y) + (x, y)


def band(upper: Points, lower: Points) -> Points:
    """Return the closed outline between two lines that both run from left to right."""
    return np.concatenate([upper, lower[::-1]])


def bell(length: int, centre: float, spread: float, start: int = 0) -> NDArray[np.float32]:
    """Return a Gaussian of height 1 over the pixels from `start`: (length,)."""
    pixels = np.arange(start, start + length, dtype=np.float32)
    z = (pixels - np.float32(centre)) / np.float32(spread)
    return np.exp(-z * z / 2)


def fill_mask(height: int, width: int, outline: Points) -> Image:
    """Return the mask of a closed outline, 0 to 255 with soft edges: (height, width)."""
    mask = np.zeros((height, width), dtype=np.uint8)
    cv2.fillPoly(mask, [_to_fixed_point(outline)], 255, cv2.LINE_AA, SUBPIXEL_BITS)
    return mask


def _to_fixed_point(points: Points) -> NDArray[np.int32]:
    return np.rint(points * (1 << SUBPIXEL_BITS)).astype(np.int32)


def _scalar(colour: ArrayLike) -> list[float]:
    return list(np.asarray(colour, dtype=np.float64).tolist())


class Canvas:
    """An RGB image to draw on; its top left pixel is the point `origin`."""

    def __init__(self, image: Image, origin: ArrayLike = (0, 0)) -> None:
        self.image = image
        self._origin = np.asarray(origin, dtype=np.float64)

    def fill(self, outline: Points, colour: ArrayLike) -> None:
        """Fill a closed outline."""
        points = [_to_fixed_point(outline - self._origin)]
        cv2.fillPoly(self.image, points, _scalar(colour), cv2.LINE_AA, SUBPIXEL_BITS)

    def line(self, points: Points, colour: ArrayLike, thickness: int) -> None:
        """Draw an open line."""
        fixed = [_to_fixed_point(points - self._origin)]
        cv2.polylines(
            self.image, fixed, False, _scalar(colour), thickness, cv2.LINE_AA, SUBPIXEL_BITS
        )

    def shade(self, x: float, y: float, spread_x: float, spread_y: float, gain: float) -> None:
        """Lighten or darken softly around a point; its brightness is multiplied by 1 + gain."""
        height, width = self.image.shape[:2]
        x, y = x - self._origin[0], y - self._origin[1]
        left, right = (int(x + side * SHADE_EXTENT * spread_x) for side in (-1, 1))
        top, bottom = (int(y + side * SHADE_EXTENT * spread_y) for side in (-1, 1))
        left, right, top, bottom = max(0, left), min(width, right), max(0, top), min(height, bottom)
        if left >= right or top >= bottom:
            return
        gain_here = bell(bottom - top, y, spread_y, top)[:, None] * bell(
            right - left, x, spread_x, left
        )
        factor = cv2.cvtColor(1 + np.float32(gain) * gain_here, cv2.COLOR_GRAY2RGB)
        region = self.image[top:bottom, left:right]
        region[...] = cv2.multiply(region, factor, dtype=cv2.CV_8U)

    def draw_clipped(self, outline: Points, paint: Callable[["Canvas"], None]) -> None:
        """Draw with `paint`, clipped to a closed outline."""
        height, width = self.image.shape[:2]
        points = outline - self._origin
        left, top = np.maximum(np.floor(points.min(axis=0)).astype(int) - 1, 0)
        right, bottom = np.minimum(np.ceil(points.max(axis=0)).astype(int) + 2, (width, height))
        region = self.image[top:bottom, left:right]
        corner = np.array((left, top))
        layer = Canvas(region.copy(), self._origin + corner)
        paint(layer)
        mask = fill_mask(bottom - top, right - left, points - corner)
        opacity = mask.astype(np.float32) / 255
        region[...] = cv2.blendLinear(
            layer.image, np.ascontiguousarray(region), opacity, 1 - opacity
        )
