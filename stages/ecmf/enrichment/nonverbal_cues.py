"""What was measured of a clip's voice and face, said in words.

Of the voice: how it compares with the voices of the training split, without a look at any label;
where a corpus has no test split, these are also the clips that are tested in turn. Of the face:
only what is truly measured, that is the action units of an imported store. Without action units
nothing is said of a face but that there is none.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecmf.acoustics.descriptors import STEPS_PER_SECOND, measure, spoken, voiced
from ecmf.acoustics.prosody import syllables
from ecmf.media import Samples
from ecmf.storage.store import Layout, Result, no_rows

VOICE = Layout()
"""No row: what was measured of a voice stands among the facts of its clip."""

Measured = Mapping[str, float]
"""What `measure_voice` found, by name."""

Bounds = Mapping[str, tuple[float, float]]
"""What is low and what is high of each measure, found over the training split."""

WORDS = {
    "level": ("quiet voice", "loud voice"),
    "pitch": ("low voice", "high voice"),
    "pitch_range": ("flat melody of speech", "lively melody of speech"),
    "pace": ("slow speech", "fast speech"),
}
"""Measure -> what is said of a low and of a high one."""

QUARTILES = (25, 50, 75)

AUDIBLE = {"level": 3.0, "pitch": 1.0, "pitch_range": 2.0, "pace": 0.5}
"""How far from the median a voice must be before anything is said, in the units of `measure_voice`.

Ours, well above what a listener just notices. Quartiles alone would call half of the voices of a
corpus unusual, however alike they are."""

FEWEST_VOICED_STEPS = 10
"""A tenth of a second of voice, below which nothing is said of one."""

FEWEST_VOICES = 4
"""Voices of the training split, below which there is nothing to compare with."""

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
(Baltrusaitis et al. 2018). Left out: lips parted, jaw dropped, lips sucked and blinks (25, 26, 28,
45), which speaking brings with it."""

PRESENT_FROM = 0.5
"""Share of a clip's frames in which OpenFace's classifier (`AU04_c`, 0 or 1) sees the unit."""

INTENSITY_FROM = 1.0
"""Mean intensity (`AU04_r`, 0 to 5), from which FACS speaks of a trace, its level A."""


def measure_voice(samples: Samples) -> dict[str, float]:
    """Measure a voice; nothing at all where there is none.

    Returns:
        `level` in dB of full scale and `pitch` in semitones from 150 Hz, the means over the voiced
        steps; `pitch_range` in semitones from the 10th to the 90th percentile; `pace` in syllables
        per second between the first and the last sound.
    """
    waveform, _ = spoken(samples)
    if not len(waveform):
        return {}
    steps = measure(waveform)
    sounding = voiced(steps)
    if sounding.sum() < FEWEST_VOICED_STEPS:
        return {}
    energy, pitch = steps["energy"][:, 0], steps["pitch"][sounding, 0]
    low, high = np.percentile(pitch, [10, 90])
    return {
        "level": float(energy[sounding].mean()),
        "pitch": float(pitch.mean()),
        "pitch_range": float(high - low),
        "pace": syllables(energy) * STEPS_PER_SECOND / len(energy),
    }


def measured_voice(samples: Samples) -> Result:
    """Measure a voice, as a result the cache can keep."""
    return (no_rows(VOICE, "whole", "", measure_voice(samples)),)


def bounds(voices: Iterable[Measured]) -> dict[str, tuple[float, float]]:
    """Find from the voices of the training split what is low and what is high.

    Low is below the lower quartile, and by AUDIBLE below the median; high likewise. Nothing is
    found where there are fewer than FEWEST_VOICES.
    """
    heard = [voice for voice in voices if voice]
    if len(heard) < FEWEST_VOICES:
        return {}
    found = {}
    for name in WORDS:
        low, middle, high = np.percentile([voice[name] for voice in heard], QUARTILES)
        margin = AUDIBLE[name]
        found[name] = (float(min(low, middle - margin)), float(max(high, middle + margin)))
    return found


def voice_facts(voice: Measured, compared: Bounds) -> list[str]:
    """Say in words what is low or high in a voice, compared with `bounds`."""
    said = []
    for name, (below, above) in WORDS.items():
        if name in voice and name in compared:
            low, high = compared[name]
            if voice[name] < low:
                said.append(below)
            elif voice[name] > high:
                said.append(above)
    return said


def face_facts(rows: NDArray[Any], columns: Sequence[str]) -> list[str]:
    """Say in words which action units a clip shows.

    Args:
        rows: (rows, len(columns)), e.g. a row per frame, or one with the means over the frames.
        columns: Names as OpenFace gives them; a unit is said if every measure there is of it
            (presence, intensity) is on average at least PRESENT_FROM and INTENSITY_FROM.
    """
    if not len(rows):
        return []
    means = dict(zip(columns, np.asarray(rows, "float64").mean(axis=0), strict=True))
    said = []
    for unit, words in ACTION_UNITS.items():
        wanted = {f"{unit}_c": PRESENT_FROM, f"{unit}_r": INTENSITY_FROM}
        measures = [means[name] >= least for name, least in wanted.items() if name in means]
        if measures and all(measures):
            said.append(words)
    return said


def has_action_units(columns: Iterable[str]) -> bool:
    """Say whether any of these columns measures a unit this module has words for."""
    return any(name[:-2] in ACTION_UNITS and name[-2:] in ("_c", "_r") for name in columns)
