"""Describe measured nonverbal cues of a clip's voice and face in words.

A voice is compared with the voices of the training split, without labels; without a test split,
these include the clips tested by cross-validation. A face is described by its imported action
units; without them, only the absence of a face is mentioned.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecmf.acoustics.descriptors import (
    FRAMES_PER_SECOND,
    low_level_descriptors,
    trim_silence,
    voiced_frames,
)
from ecmf.acoustics.prosody import count_syllables
from ecmf.media import Samples
from ecmf.storage.store import Layout, Result, no_rows

VOICE = Layout()
"""Layout without rows: the measures of a voice are stored as the facts of its clip."""

VoiceMeasures = Mapping[str, float]
"""Name -> value, as returned by `measure_voice`; empty without a voice."""

Thresholds = Mapping[str, tuple[float, float]]
"""Name of a measure -> values below which it is low and above which it is high."""

VOICE_PHRASES = {
    "level": ("quiet voice", "loud voice"),
    "pitch": ("low voice", "high voice"),
    "pitch_range": ("flat melody of speech", "lively melody of speech"),
    "pace": ("slow speech", "fast speech"),
}
"""Name of a measure -> phrases for a low and a high value."""

QUARTILES = (25, 50, 75)

MIN_AUDIBLE_DIFFERENCE = {"level": 3.0, "pitch": 1.0, "pitch_range": 2.0, "pace": 0.5}
"""Minimum distance from the median to be mentioned, in the units of `measure_voice`.

Our choice, well above the just noticeable difference. By quartiles alone, half of the voices of a
corpus would be unusual, even if all are similar."""

MIN_VOICED_STEPS = 10
"""A tenth of a second; a shorter voice is not measured."""

MIN_VOICES = 4
"""Minimum voices of the training split for a comparison."""

NO_FACE = "no face visible"

ACTION_UNITS = {
    "AU01": "inner eyebrows raised",
    "AU02": "outer eyebrows raised",
    "AU04": "eyebrows drawn together",
    "AU05": "upper eyelids raised",
    "AU06": "cheeks raised",
    "AU07": "eyelids tightened",
    "AU09": "nose wrinkled",
    "AU10": "upper lip raised",
    "AU12": "lip corners pulled up",
    "AU14": "dimples in the cheeks",
    "AU15": "lip corners pulled down",
    "AU17": "chin raised",
    "AU20": "lips stretched sideways",
    "AU23": "lips tightened",
}
"""Units of the Facial Action Coding System (Ekman & Friesen 1978) that OpenFace measures
(Baltrusaitis et al. 2018). Omitted: lips parted, jaw dropped, lips sucked and blinks (25, 26, 28,
45), which accompany speech."""

MIN_PRESENCE = 0.5
"""Fraction of a clip's frames in which OpenFace's classifier (`AU04_c`, 0 or 1) finds a unit."""

MIN_INTENSITY = 1.0
"""Mean intensity (`AU04_r`, 0 to 5); 1 is the lowest level of FACS, A (trace)."""


def measure_voice(samples: Samples) -> dict[str, float]:
    """Measure a voice.

    Returns:
        `level` in dB of full scale and `pitch` in semitones from 150 Hz, the means over the voiced
        steps; `pitch_range` in semitones from the 10th to the 90th percentile; `pace` in syllables
        per second between the first and the last sound. Empty if there is no voice.
    """
    waveform, _ = trim_silence(samples)
    if not len(waveform):
        return {}
    steps = low_level_descriptors(waveform)
    sounding = voiced_frames(steps)
    if sounding.sum() < MIN_VOICED_STEPS:
        return {}
    energy, pitch = steps["energy"][:, 0], steps["pitch"][sounding, 0]
    low, high = np.percentile(pitch, [10, 90])
    return {
        "level": float(energy[sounding].mean()),
        "pitch": float(pitch.mean()),
        "pitch_range": float(high - low),
        "pace": count_syllables(energy) * FRAMES_PER_SECOND / len(energy),
    }


def measure_voice_result(samples: Samples) -> Result:
    """Measure a voice and return a result for the cache."""
    return (no_rows(VOICE, "whole", "", measure_voice(samples)),)


def fit_thresholds(voices: Iterable[VoiceMeasures]) -> dict[str, tuple[float, float]]:
    """Compute the thresholds of low and high from the voices of the training split.

    Low is below the lower quartile and more than MIN_AUDIBLE_DIFFERENCE below the median; high is
    the mirror image. Empty for fewer than MIN_VOICES voices.
    """
    measured = [voice for voice in voices if voice]
    if len(measured) < MIN_VOICES:
        return {}
    thresholds = {}
    for name in VOICE_PHRASES:
        lower, median, upper = np.percentile([voice[name] for voice in measured], QUARTILES)
        margin = MIN_AUDIBLE_DIFFERENCE[name]
        thresholds[name] = (float(min(lower, median - margin)), float(max(upper, median + margin)))
    return thresholds


def describe_voice(voice: VoiceMeasures, thresholds: Thresholds) -> list[str]:
    """Return a phrase for each measure that is low or high."""
    phrases = []
    for name, (if_low, if_high) in VOICE_PHRASES.items():
        if name in voice and name in thresholds:
            low, high = thresholds[name]
            if voice[name] < low:
                phrases.append(if_low)
            elif voice[name] > high:
                phrases.append(if_high)
    return phrases


def describe_face(rows: NDArray[Any], columns: Sequence[str]) -> list[str]:
    """Return a phrase for each action unit that a clip shows.

    Args:
        rows: (rows, len(columns)), e.g. one row per frame, or one with the means over the frames.
        columns: Names as written by OpenFace. A unit is shown if the mean of each of its measures
            is at least MIN_PRESENCE (presence) or MIN_INTENSITY (intensity).
    """
    if not len(rows):
        return []
    means = dict(zip(columns, np.asarray(rows, "float64").mean(axis=0), strict=True))
    phrases = []
    for unit, phrase in ACTION_UNITS.items():
        minima = {f"{unit}_c": MIN_PRESENCE, f"{unit}_r": MIN_INTENSITY}
        reached = [means[name] >= minimum for name, minimum in minima.items() if name in means]
        if reached and all(reached):
            phrases.append(phrase)
    return phrases


def has_action_units(columns: Iterable[str]) -> bool:
    """Return whether any of the columns measures a unit of ACTION_UNITS."""
    return any(name[:-2] in ACTION_UNITS and name[-2:] in ("_c", "_r") for name in columns)
