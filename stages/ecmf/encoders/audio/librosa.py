"""Statistics of what can be measured of a voice: no weights, no network, every column has a name.

Not invariant to the microphone's level, and knows nothing of words.
"""

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ecmf.acoustics.descriptors import (
    SHORTEST_SECONDS,
    STEPS_PER_SECOND,
    Steps,
    measure,
    spoken,
    voiced,
)
from ecmf.acoustics.prosody import NAMES, rhythm
from ecmf.config import Section
from ecmf.media import SAMPLES_PER_SECOND, Features, Sound

STATISTICS = ("mean", "deviation", "p10", "p50", "p90")
PERCENTILES = (10, 50, 90)

OF_THE_VOICE = ("pitch", "pitch_delta", "harmonicity", "slope", "alpha_ratio", "hammarberg_index")
"""Descriptors that say most where a voice sounds: their statistics are taken of these steps too."""

FEWEST_VOICED = 3
"""With fewer voiced steps in a window, all its steps stand in for them."""


class Options(Section):
    """Windows and trimming.

    `window_seconds`: one row per window, one row for the whole clip where None. `hop_seconds`: from
    one window to the next, a window's length where None. `trim_decibels`: what is quieter than the
    loudest moment by more than this is cut off at both ends; None keeps all.
    """

    window_seconds: float | None = Field(None, ge=SHORTEST_SECONDS)
    hop_seconds: float | None = Field(None, ge=SHORTEST_SECONDS)
    trim_decibels: float | None = Field(30.0, gt=0)

    @model_validator(mode="after")
    def _hop_needs_windows(self) -> "Options":
        if self.hop_seconds is not None and self.window_seconds is None:
            raise ValueError("hop_seconds says nothing without window_seconds")
        return self


class Encoder:
    """Waveforms in, mean, deviation and percentiles 10, 50, 90 of each descriptor out.

    A row's time is the middle of its window. The windows cover the voice without the quiet around
    it; the last one ends with it. Silence, and sound shorter than 0.1 s, has no row.
    """

    needs_rows: ClassVar[bool] = True

    def __init__(self, options: Options) -> None:
        self._options = options
        columns = _columns(measure(np.zeros(SAMPLES_PER_SECOND, "float32")))
        self.dim = len(columns)
        self.provenance: Mapping[str, Any] = {
            "columns": columns,
            "librosa": version("librosa"),
            "scipy": version("scipy"),
        }

    def __call__(self, clips: Sequence[Sound]) -> list[Features]:
        """Measure each clip on its own."""
        return [self._encode(clip) for clip in clips]

    def _encode(self, clip: Sound) -> Features:
        waveform, start = spoken(clip.samples, self._options.trim_decibels)
        if not len(waveform):
            return Features(np.empty((0, self.dim), "float32"), np.empty(0))
        measured = measure(waveform)
        rows, times = [], []
        for first, last in self._windows(len(measured["energy"])):
            rows.append(_statistics({name: steps[first:last] for name, steps in measured.items()}))
            times.append(start + (first + last) / 2 / STEPS_PER_SECOND)
        return Features(np.array(rows, "float32"), np.array(times))

    def _windows(self, steps: int) -> Iterator[tuple[int, int]]:
        seconds = self._options.window_seconds
        width = steps if seconds is None else min(steps, round(seconds * STEPS_PER_SECOND))
        hop = round((self._options.hop_seconds or 0) * STEPS_PER_SECOND) or width
        for first in range(0, steps - width, hop):
            yield first, first + width
        yield steps - width, steps


def _statistics(measured: Mapping[str, Steps]) -> NDArray[np.float64]:
    parts = [_spread(steps) for _, steps in sorted(measured.items())]
    sounding = voiced(measured)
    if sounding.sum() < FEWEST_VOICED:
        sounding = np.ones_like(sounding)
    parts.extend(_spread(measured[name][sounding]) for name in OF_THE_VOICE)
    return np.concatenate([*parts, rhythm(measured)])


def _spread(steps: Steps) -> NDArray[np.float64]:
    """(steps, width) -> (len(STATISTICS) * width,), statistic by statistic."""
    percentiles = np.percentile(steps, PERCENTILES, axis=0)
    return np.concatenate([steps.mean(axis=0), steps.std(axis=0), *percentiles])


def _columns(measured: Mapping[str, Steps]) -> list[str]:
    descriptors = [(name, steps.shape[1]) for name, steps in sorted(measured.items())]
    descriptors += [(f"{name}_voiced", measured[name].shape[1]) for name in OF_THE_VOICE]
    return [
        *(
            f"{name}_{statistic}" if width == 1 else f"{name}_{i}_{statistic}"
            for name, width in descriptors
            for statistic in STATISTICS
            for i in range(width)
        ),
        *NAMES,
    ]
