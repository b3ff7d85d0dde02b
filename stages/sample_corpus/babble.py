"""Synthesise speech-like babble without espeak: a sound per letter, by source and formant filters.

Pitch, range and rate have the meaning they have in espeak; words are unintelligible. A reduced form
of Klatt, Software for a cascade/parallel formant synthesizer, 1980.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from ecmf.media import SAMPLE_RATE
from sample_corpus.actors import FEMALE_VARIANTS, MALE_VARIANTS
from sample_corpus.espeak import Utterance

Signal = NDArray[np.float64]
"""A value over time, (steps,) or (samples,)."""

STEPS_PER_SECOND = 80
SAMPLES_PER_BLOCK = 200
"""Samples with constant formants, 12.5 ms."""
BANDWIDTHS = (80, 110, 160)
NEUTRAL_RATE = 170
"""Words per minute at which the durations of LETTERS apply."""
JITTER = 0.01
NEUTRAL_FORMANTS = (500, 1500, 2500)


@dataclass(frozen=True)
class Letter:
    """A sound: duration in seconds, amplitudes of voice and hiss, formants in Hz."""

    seconds: float
    voiced: float = 0.0
    hiss: float = 0.0
    formants: tuple[int, int, int] = NEUTRAL_FORMANTS


VOWELS = {
    "a": (750, 1250, 2500),
    "e": (530, 1850, 2500),
    "i": (300, 2250, 3000),
    "o": (480, 900, 2450),
    "u": (330, 1000, 2300),
    "y": (300, 2200, 2900),
}
SONORANTS = {
    "m": (280, 1000, 2200),
    "n": (280, 1500, 2500),
    "l": (350, 1100, 2700),
    "r": (400, 1200, 1600),
    "w": (320, 750, 2200),
}
FRICATIVES = {"s": 0.25, "z": 0.15, "f": 0.10, "v": 0.06, "h": 0.08, "c": 0.2, "x": 0.2, "j": 0.15}
LETTERS = {
    **{letter: Letter(0.095, 1.0, formants=formants) for letter, formants in VOWELS.items()},
    **{letter: Letter(0.06, 0.5, formants=formants) for letter, formants in SONORANTS.items()},
    **{letter: Letter(0.07, 0.1, hiss=hiss) for letter, hiss in FRICATIVES.items()},
    **{letter: Letter(0.055, hiss=0.1) for letter in "ptkbdgq"},
}
PAUSE = Letter(0.03, 0.15)


def synthesise(utterances: Sequence[Utterance]) -> list[NDArray[np.float32]]:
    """Synthesise each sentence, -1 to 1 at SAMPLE_RATE."""
    return [_synthesise(utterance) for utterance in utterances]


def _synthesise(utterance: Utterance) -> NDArray[np.float32]:
    rng = np.random.default_rng(list(utterance.text.encode()))
    letters = _letters(utterance.text)
    seconds = np.array([letter.seconds for letter in letters]) * NEUTRAL_RATE / utterance.rate
    lengths = np.maximum(1, np.rint(seconds * STEPS_PER_SECOND).astype(int))
    steps = np.repeat(np.arange(len(letters)), lengths)
    samples = len(steps) * SAMPLE_RATE // STEPS_PER_SECOND
    step_of_sample = np.arange(samples) * STEPS_PER_SECOND / SAMPLE_RATE

    def smooth(values: Sequence[float]) -> Signal:
        """Interpolate one value per letter to a smooth value per sample."""
        stepped = np.pad(np.array(values)[steps], 2, mode="edge")
        smoothed = np.convolve(stepped, np.full(5, 0.2), mode="valid")
        return np.interp(step_of_sample, np.arange(len(steps)), smoothed)

    voiced = smooth([letter.voiced for letter in letters])
    frequency = _frequency(utterance, samples, rng)
    phase = np.cumsum(frequency / SAMPLE_RATE) % 1
    source = np.diff(_glottis(phase) * voiced, prepend=0) * 8
    sound = source + 0.02 * rng.standard_normal(samples) * voiced
    formant_scale = _formant_scale(utterance.variant)
    for index, bandwidth in enumerate(BANDWIDTHS):
        formant = smooth([letter.formants[index] for letter in letters]) * formant_scale
        sound = _resonate(sound, formant, bandwidth)
    noise = rng.standard_normal(samples)
    noise -= np.convolve(noise, np.full(4, 0.25), mode="same")  # no low frequencies
    hiss = smooth([letter.hiss for letter in letters])
    mixed = sound / np.abs(sound).max() + 0.3 * hiss * noise
    babble: NDArray[np.float32] = (mixed / np.abs(mixed).max() * 0.5).astype(np.float32)
    return babble


def _letters(text: str) -> list[Letter]:
    letters = []
    for word in text.lower().split():
        previous = ""
        for letter in word:
            if letter in LETTERS and letter != previous:
                letters.append(LETTERS[letter])
            previous = letter
        letters.append(PAUSE)
    return letters


def _formant_scale(variant: str) -> float:
    """Return the ratio of the formants to those of an average man."""
    if variant in FEMALE_VARIANTS:
        return 1.10 + 0.02 * FEMALE_VARIANTS.index(variant)
    return 0.94 + 0.02 * MALE_VARIANTS.index(variant)


def _frequency(utterance: Utterance, samples: int, rng: np.random.Generator) -> Signal:
    """Return the pitch contour in Hz: falling over the sentence, an accent every few words."""
    middle = 190 if utterance.variant in FEMALE_VARIANTS else 110
    octaves = 0.25 * utterance.pitch_range / 50
    position = np.linspace(0, 1, samples)
    words = len(utterance.text.split())
    accents = 0.5 * np.sin(2 * np.pi * position * words / 3.2) - 0.6 * (position - 0.5)
    steps = np.linspace(0, 1, samples // SAMPLES_PER_BLOCK + 1)
    jitter = 1 + JITTER * np.interp(position, steps, rng.standard_normal(len(steps)))
    return middle * 2 ** ((utterance.pitch - 45) / 45 + octaves * accents) * jitter


def _glottis(phase: Signal) -> Signal:
    """Return the glottal flow: the vocal folds open over 60 % of a period (Rosenberg 1971)."""
    opening, closing = phase / 0.6, (phase - 0.6) / 0.4
    return np.where(phase < 0.6, 3 * opening**2 - 2 * opening**3, 1 - closing**2)


def _resonate(sound: Signal, formant: Signal, bandwidth: float) -> Signal:
    """Filter by one time-varying resonance."""
    radius = np.exp(-np.pi * bandwidth / SAMPLE_RATE)
    state = np.zeros(2)
    result = np.empty_like(sound)
    for start in range(0, len(sound), SAMPLES_PER_BLOCK):
        block = slice(start, start + SAMPLES_PER_BLOCK)
        cosine = 2 * radius * np.cos(2 * np.pi * formant[start] / SAMPLE_RATE)
        feedback = [1, -cosine, radius**2]
        result[block], state = lfilter([1 - cosine + radius**2], feedback, sound[block], zi=state)
    return result
