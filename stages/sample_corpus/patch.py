"""Define the patch, a square for drawing a head, and the outline of the face on it."""

import numpy as np

from sample_corpus.actors import Looks
from sample_corpus.drawing import Points

PATCH = 480
"""Width and height in pixels."""
CENTRE_X, CENTRE_Y = 240.0, 252.0
"""Middle of the face."""
SIDES = (-1, 1)
"""Left and right in the image."""


def face_outline(looks: Looks, margin: float = 0.0) -> Points:
    """Return the closed outline of the face, `margin` pixels wider: (120, 2)."""
    angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    cosine, sine = np.cos(angle), np.sin(angle)
    narrowing = np.where(sine > 0, 1 - (1 - looks.jaw) * sine**2 * 1.15, 1.0)
    x = (looks.face_width + margin) * np.sign(cosine) * np.abs(cosine) ** 0.92 * narrowing
    y = (looks.face_height + margin) * np.sign(sine) * np.abs(sine) ** 0.96
    return np.stack([CENTRE_X + x, CENTRE_Y + y], axis=1)
