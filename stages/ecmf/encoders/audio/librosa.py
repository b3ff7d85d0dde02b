"""Describe a voice by statistics of acoustic descriptors: no weights, and every column has a name.

Not invariant to the level of the microphone, and without any information about words.
"""

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ecmf.acoustics.descriptors import (
    FRAMES_PER_SECOND,
    MIN_SECONDS,
    Descriptor,
    low_level_descriptors,
    trim_silence,
    voiced_frames,
)
from ecmf.acoustics.prosody import FUNCTIONAL_NAMES, prosodic_functionals
from ecmf.config import Section
from ecmf.media import SAMPLE_RATE, Audio, Features

STATISTICS = ("mean", "deviation", "p10", "p50", "p90")
PERCENTILES = (10, 50, 90)

VOICED_DESCRIPTORS = (
    "pitch", "pitch_delta", "harmonicity", "slope", "alpha_ratio", "hammarberg_index",
)  # fmt: skip
"""Descriptors most informative in voiced frames, over which their statistics are computed too."""

MIN_VOICED_FRAMES = 3
"""A window with fewer voiced frames uses all of its frames instead."""


class Options(Section):
    """Windows and trimming."""

    window_seconds: float | None = Field(
        None, ge=MIN_SECONDS, description="Seconds per row; null: one row for the whole clip."
    )
    hop_seconds: float | None = Field(
        None, ge=MIN_SECONDS, description="From one window to the next; null: `window_seconds`."
    )
    trim_decibels: float | None = Field(
        30.0, gt=0, description="Cut ends this many dB below the loudest moment; null: keep them."
    )

    @model_validator(mode="after")
    def _hop_needs_windows(self) -> "Options":
        if self.hop_seconds is not None and self.window_seconds is None:
            raise ValueError("hop_seconds has no effect without window_seconds")
        return self


class Encoder:
    """Compute mean, deviation and percentiles 10, 50, 90 of each descriptor, per window.

    A row's time is the middle of its window. The windows cover the voice without the quiet around
    it; the last one ends with it. Silence, and audio shorter than 0.1 s, has no row.
    """

    reads_media: ClassVar[bool] = True

    def __init__(self, options: Options) -> None:
        self._options = options
        columns = _columns(low_level_descriptors(np.zeros(SAMPLE_RATE, "float32")))
        self.dim = len(columns)
        self.provenance: Mapping[str, Any] = {
            "columns": columns,
            "librosa": version("librosa"),
            "scipy": version("scipy"),
        }

    def __call__(self, clips: Sequence[Audio]) -> list[Features]:
        """Compute the statistics of each clip independently."""
        return [self._encode(clip) for clip in clips]

    def _encode(self, clip: Audio) -> Features:
        waveform, start = trim_silence(clip.samples, self._options.trim_decibels)
        if not len(waveform):
            return Features(np.empty((0, self.dim), "float32"), np.empty(0))
        descriptors = low_level_descriptors(waveform)
        rows, times = [], []
        for first, end in self._windows(len(descriptors["energy"])):
            window = {name: frames[first:end] for name, frames in descriptors.items()}
            rows.append(_statistics(window))
            times.append(start + (first + end) / 2 / FRAMES_PER_SECOND)
        return Features(np.array(rows, "float32"), np.array(times))

    def _windows(self, frames: int) -> Iterator[tuple[int, int]]:
        seconds = self._options.window_seconds
        width = frames if seconds is None else min(frames, round(seconds * FRAMES_PER_SECOND))
        hop = round((self._options.hop_seconds or 0) * FRAMES_PER_SECOND) or width
        for first in range(0, frames - width, hop):
            yield first, first + width
        yield frames - width, frames


def _statistics(descriptors: Mapping[str, Descriptor]) -> NDArray[np.float64]:
    parts = [_summarise(frames) for _, frames in sorted(descriptors.items())]
    voiced = voiced_frames(descriptors)
    if voiced.sum() < MIN_VOICED_FRAMES:
        voiced = np.ones_like(voiced)
    parts.extend(_summarise(descriptors[name][voiced]) for name in VOICED_DESCRIPTORS)
    return np.concatenate([*parts, prosodic_functionals(descriptors)])


def _summarise(frames: Descriptor) -> NDArray[np.float64]:
    """Compute (len(STATISTICS) * width,), statistic by statistic, of (frames, width)."""
    percentiles = np.percentile(frames, PERCENTILES, axis=0)
    return np.concatenate([frames.mean(axis=0), frames.std(axis=0), *percentiles])


def _columns(descriptors: Mapping[str, Descriptor]) -> list[str]:
    widths = [(name, frames.shape[1]) for name, frames in sorted(descriptors.items())]
    widths += [(f"{name}_voiced", descriptors[name].shape[1]) for name in VOICED_DESCRIPTORS]
    return [
        *(
            f"{name}_{statistic}" if width == 1 else f"{name}_{i}_{statistic}"
            for name, width in widths
            for statistic in STATISTICS
            for i in range(width)
        ),
        *FUNCTIONAL_NAMES,
    ]
