"""Draw the pictures of a clip: a strip of its frames and face crops, its waveform and pitch."""

import base64
from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np

from ecmf.acoustics.descriptors import (
    REFERENCE_HZ,
    low_level_descriptors,
    trim_silence,
    voiced_frames,
)
from ecmf.media import RGB, Samples
from ecmf.storage.jpeg import decode_jpeg, encode_jpeg
from ecmf.storage.store import Store

PICTURES = 3
"""Frames and face crops of a clip, each evenly spaced in time."""

HEIGHT, MAX_WIDTH, JPEG_QUALITY = 72, 128, 60
"""Height and largest width in pixels of one picture of the strip, and the strip's quality."""

POINTS = 96
"""Points of a waveform, and of a pitch."""

LEVELS = "0123456789abcdefghijklmnopqrstuv"
"""Digits of the peak of a waveform, from silence to the loudest point of the clip."""


def picture_strip(clip_id: str, frames: Store, faces: Store) -> str:
    """Return frames and then face crops side by side as one JPEG in base64; "" without any.

    One file for all pictures spares the header of each, a third of their bytes.
    """
    files = [*_spaced(frames[clip_id].values), *_spaced(faces[clip_id].values)]
    if not files:
        return ""
    strip = np.concatenate([_fit(decode_jpeg(bytes(file))) for file in files], axis=1)
    return base64.b64encode(encode_jpeg(strip, JPEG_QUALITY)).decode()


def waveform(samples: Samples) -> str:
    """Return the peak of each of POINTS spans of a waveform (samples,) as digits; "" if empty."""
    if not len(samples):
        return ""
    loudness = np.abs(samples.astype("float64"))
    starts = np.linspace(0, len(samples), min(POINTS, len(samples)), endpoint=False).astype(int)
    peaks = np.maximum.reduceat(loudness, starts)
    scaled = peaks / max(peaks.max(), 1) * (len(LEVELS) - 1)
    return "".join(LEVELS[level] for level in scaled.round().astype(int))


def pitch(samples: Samples) -> tuple[str, list[int]]:
    """Return the pitch of each of POINTS spans of a waveform (samples,), and its range in Hz.

    The pitch is a digit of LEVELS on a scale of semitones, or `-` in a span without a voiced frame.
    Both are empty if the clip has no voice.
    """
    waveform, _ = trim_silence(samples, None)
    if not len(waveform):
        return "", []
    steps = low_level_descriptors(waveform)
    voiced = np.where(voiced_frames(steps), steps["pitch"][:, 0], np.nan)
    edges = np.linspace(0, len(voiced), POINTS + 1).round().astype(int)
    spans = [voiced[first:end][~np.isnan(voiced[first:end])] for first, end in pairwise(edges)]
    means = [float(span.mean()) if len(span) else None for span in spans]
    known = [mean for mean in means if mean is not None]
    if not known:
        return "", []
    low, high = min(known), max(known)
    scale = (len(LEVELS) - 1) / max(high - low, 1)
    digits = ["-" if mean is None else LEVELS[round((mean - low) * scale)] for mean in means]
    return "".join(digits), [round(REFERENCE_HZ * 2 ** (bound / 12)) for bound in (low, high)]


def _spaced(files: Sequence[bytes] | np.ndarray) -> list[bytes]:
    count = min(PICTURES, len(files))
    return [files[i] for i in np.linspace(0, len(files) - 1, count).round().astype(int)]


def _fit(image: RGB) -> RGB:
    """Resize to HEIGHT, and cut a wide image to MAX_WIDTH around its middle."""
    width = max(1, round(image.shape[1] * HEIGHT / image.shape[0]))
    small = np.asarray(cv2.resize(image, (width, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)
    left = max(0, (width - MAX_WIDTH) // 2)
    return small[:, left : left + MAX_WIDTH]
