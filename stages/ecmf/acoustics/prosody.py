"""How a voice moves, in a few numbers: pace, pauses, steadiness, and how fast its level swings.

Made of the steps `voice.measure` returns; nothing here depends on another clip.
"""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from ecmf.acoustics.descriptors import STEPS_PER_SECOND, Steps, voiced

SYLLABLE_PROMINENCE_DB = 3.0
"""How far the level must rise and fall around a syllable's core (after de Jong & Wempe 2009)."""

SMOOTHING_STEPS = 11
PAUSE_BELOW_PEAK_DB = 25.0

SWING_HZ = (0.5, 2, 4, 6, 8, 12, 20)
"""Bounds of the bands of the level's own spectrum; syllables come at 3 to 6 Hz."""

FEWEST_STEPS = 5
"""Voiced steps below which a slope of the pitch is not fitted."""

NAMES = (
    "log_seconds",
    "voiced_share",
    "jitter_mean",
    "jitter_median",
    "shimmer_mean",
    "voiced_run_mean",
    "voiced_run_deviation",
    "voiced_run_longest",
    "voiced_runs_per_second",
    "syllables_per_second",
    "pause_share",
    "pitch_slope",
    *(f"swing_{low:g}_{high:g}_hz" for low, high in pairwise(SWING_HZ)),
)


def rhythm(measured: Mapping[str, Steps]) -> NDArray[np.float64]:
    """Return the numbers of NAMES for the steps given, which must not be empty.

    Jitter is the change of pitch from step to step in semitones, shimmer that of the level in dB
    (over 10 ms, not from period to period: coarser than a phonetician's). Runs are in seconds, the
    slope of the pitch in semitones per second, swings are log10 of power. What cannot be measured,
    for want of voiced steps, is 0.
    """
    energy, pitch = measured["energy"][:, 0], measured["pitch"][:, 0]
    sounding = voiced(measured)
    seconds = len(energy) / STEPS_PER_SECOND
    connected = sounding[1:] & sounding[:-1]
    jitter = np.abs(np.diff(pitch))[connected] if connected.any() else np.zeros(1)
    shimmer = np.abs(np.diff(energy))[connected] if connected.any() else np.zeros(1)
    runs = _runs(sounding)
    return np.array(
        [
            np.log(seconds),
            sounding.mean(),
            jitter.mean(),
            np.median(jitter),
            shimmer.mean(),
            runs.mean() if len(runs) else 0,
            runs.std() if len(runs) else 0,
            runs.max() if len(runs) else 0,
            len(runs) / seconds,
            syllables(energy) / seconds,
            (energy < energy.max() - PAUSE_BELOW_PEAK_DB).mean(),
            _slope(pitch, sounding),
            *_swings(energy),
        ]
    )


def syllables(energy: NDArray[np.float64]) -> int:
    """Count the peaks of a level in dB, (steps,): about one per spoken syllable."""
    if len(energy) < SMOOTHING_STEPS:
        return 0
    smooth = signal.savgol_filter(energy, SMOOTHING_STEPS, polyorder=2)
    return len(signal.find_peaks(smooth, prominence=SYLLABLE_PROMINENCE_DB)[0])


def _runs(sounding: NDArray[np.bool_]) -> NDArray[np.float64]:
    edges = np.diff(np.concatenate([[0], sounding.astype(int), [0]]))
    steps = np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)
    return steps / STEPS_PER_SECOND


def _slope(pitch: NDArray[np.float64], sounding: NDArray[np.bool_]) -> float:
    if sounding.sum() < FEWEST_STEPS:
        return 0.0
    seconds = np.flatnonzero(sounding) / STEPS_PER_SECOND
    return float(np.polyfit(seconds - seconds.mean(), pitch[sounding], 1)[0])


def _swings(energy: NDArray[np.float64]) -> list[float]:
    """Power of the level's swings per band; padded to 20 s, so that every band has bins."""
    bins = max(2048, len(energy))
    power = np.abs(np.fft.rfft(energy - energy.mean(), bins)) ** 2 / len(energy)
    hertz = np.fft.rfftfreq(bins, 1 / STEPS_PER_SECOND)
    return [
        float(np.log10(power[(hertz >= low) & (hertz < high)].mean() + 1e-3))
        for low, high in pairwise(SWING_HZ)
    ]
