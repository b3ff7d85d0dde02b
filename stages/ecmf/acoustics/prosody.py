"""Compute prosodic functionals of a voice: rate, pauses, jitter, shimmer, modulation of the level.

They summarise the descriptors of `descriptors.py` over time and do not depend on other clips.
"""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from ecmf.acoustics.descriptors import FRAMES_PER_SECOND, Descriptor, voiced_frames

SYLLABLE_PROMINENCE_DB = 3.0
"""Minimum prominence of a level peak that counts as a syllable (de Jong & Wempe 2009)."""

SMOOTHING_FRAMES = 11
PAUSE_BELOW_PEAK_DB = 25.0

MODULATION_BANDS_HZ = (0.5, 2, 4, 6, 8, 12, 20)
"""Edges of the bands of the level's modulation spectrum; syllables are at 3 to 6 Hz."""

MIN_VOICED_FRAMES = 5
"""With fewer voiced frames, no slope of the pitch is fitted."""

FUNCTIONAL_NAMES = (
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
    *(f"swing_{low:g}_{high:g}_hz" for low, high in pairwise(MODULATION_BANDS_HZ)),
)


def prosodic_functionals(descriptors: Mapping[str, Descriptor]) -> NDArray[np.float64]:
    """Return the functionals in the order of FUNCTIONAL_NAMES, from at least one frame.

    Jitter is the change of pitch between frames in semitones, shimmer that of the level in dB (over
    10 ms, which is coarser than the usual period to period). Runs are in seconds, the slope of the
    pitch in semitones per second, the bands of the modulation spectrum (`swing_...`) in log10 of
    power. Without enough voiced frames a functional is 0.
    """
    energy, pitch = descriptors["energy"][:, 0], descriptors["pitch"][:, 0]
    voiced = voiced_frames(descriptors)
    seconds = len(energy) / FRAMES_PER_SECOND
    connected = voiced[1:] & voiced[:-1]
    jitter = np.abs(np.diff(pitch))[connected] if connected.any() else np.zeros(1)
    shimmer = np.abs(np.diff(energy))[connected] if connected.any() else np.zeros(1)
    runs = _runs(voiced)
    return np.array(
        [
            np.log(seconds),
            voiced.mean(),
            jitter.mean(),
            np.median(jitter),
            shimmer.mean(),
            runs.mean() if len(runs) else 0,
            runs.std() if len(runs) else 0,
            runs.max() if len(runs) else 0,
            len(runs) / seconds,
            count_syllables(energy) / seconds,
            (energy < energy.max() - PAUSE_BELOW_PEAK_DB).mean(),
            _slope(pitch, voiced),
            *_level_modulation(energy),
        ]
    )


def count_syllables(energy: NDArray[np.float64]) -> int:
    """Count the peaks of a level in dB, (frames,): about one per syllable."""
    if len(energy) < SMOOTHING_FRAMES:
        return 0
    smooth = signal.savgol_filter(energy, SMOOTHING_FRAMES, polyorder=2)
    return len(signal.find_peaks(smooth, prominence=SYLLABLE_PROMINENCE_DB)[0])


def _runs(voiced: NDArray[np.bool_]) -> NDArray[np.float64]:
    edges = np.diff(np.concatenate([[0], voiced.astype(int), [0]]))
    lengths = np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)
    return lengths / FRAMES_PER_SECOND


def _slope(pitch: NDArray[np.float64], voiced: NDArray[np.bool_]) -> float:
    if voiced.sum() < MIN_VOICED_FRAMES:
        return 0.0
    seconds = np.flatnonzero(voiced) / FRAMES_PER_SECOND
    return float(np.polyfit(seconds - seconds.mean(), pitch[voiced], 1)[0])


def _level_modulation(energy: NDArray[np.float64]) -> list[float]:
    """Return the power of the level per band, padded to 20 s so that every band has bins."""
    bins = max(2048, len(energy))
    power = np.abs(np.fft.rfft(energy - energy.mean(), bins)) ** 2 / len(energy)
    hertz = np.fft.rfftfreq(bins, 1 / FRAMES_PER_SECOND)
    return [
        float(np.log10(power[(hertz >= low) & (hertz < high)].mean() + 1e-3))
        for low, high in pairwise(MODULATION_BANDS_HZ)
    ]
