"""Sentences and prosody -> the sound of the clips, with a room around the voice."""

import logging
from collections.abc import Callable, Sequence

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from ecmf.media import SAMPLES_PER_SECOND
from ecmf.params import VoiceName
from sample_corpus import babble, espeak
from sample_corpus.casting import Voice
from sample_corpus.espeak import Utterance
from sample_corpus.prosody import Prosody

Waveform = NDArray[np.float32]
"""-1 to 1 at SAMPLES_PER_SECOND: (samples,)."""

VOICES: dict[VoiceName, Callable[[Sequence[Utterance]], list[Waveform]]] = {
    "espeak": espeak.say,
    "babble": babble.say,
}
LEVEL = 0.06
"""Root mean square of a voice of 0 dB."""
TILT_CENTRE, TILT_LOWEST = 500, 60
"""Hz at which tilt changes nothing, and below which it changes no more."""
TREMOLO_FREQUENCY = 5.5
ENVELOPE_SAMPLES = 320
SECONDS_BEFORE, SECONDS_AFTER = 0.15, 0.25


def available(wanted: VoiceName) -> VoiceName:
    """The voice wanted, or babble with a warning where espeak is not installed."""
    if wanted == "espeak" and not espeak.installed():
        logging.getLogger(__name__).warning(
            "espeak is not installed: the actors babble instead, and clips will have other bytes. "
            "Run `pip install '.[sample-voice]'` (GPL-3) to hear words, or set voice: babble"
        )
        return "babble"
    return wanted


def utterance(text: str, voice: Voice, prosody: Prosody) -> Utterance:
    """How an actor says a sentence, within what a voice can do."""
    return Utterance(
        text=text,
        variant=voice.variant,
        pitch=_within(voice.pitch + prosody.pitch, 0, 99),
        pitch_range=_within(50 + prosody.pitch_range, 0, 99),
        rate=_within(voice.rate + prosody.rate, 90, 260),
    )


def _within(value: float, least: int, most: int) -> int:
    return int(min(max(value, least), most))


def recorded(
    spoken: Waveform,
    voice: Voice,
    prosody: Prosody,
    shortest_seconds: float,
    random: np.random.Generator,
) -> Waveform:
    """A bare voice -> the clip's sound: timbre, loudness, a pause before and after, room noise."""
    sound = _tilted(spoken.astype(np.float64), prosody.tilt)
    seconds = np.arange(len(sound)) / SAMPLES_PER_SECOND
    envelope = np.sqrt(uniform_filter1d(sound**2, ENVELOPE_SAMPLES, mode="constant"))
    breath = max(0, prosody.breath) * envelope * random.standard_normal(len(sound))
    frequency = TREMOLO_FREQUENCY + random.uniform(-0.5, 0.5)
    sound = sound * (1 + max(0, prosody.tremolo) * np.sin(2 * np.pi * frequency * seconds)) + breath
    loudness = LEVEL * 10 ** ((prosody.loudness + voice.loudness) / 20)
    sound *= loudness / (np.sqrt(np.mean(sound**2)) + 1e-9)
    before, after = (int(part * SAMPLES_PER_SECOND) for part in (SECONDS_BEFORE, SECONDS_AFTER))
    shortest = int(shortest_seconds * SAMPLES_PER_SECOND)
    sound = np.pad(sound, (before, max(after, shortest - before - len(sound))))
    sound += random.standard_normal(len(sound)) * 10 ** (random.uniform(-62, -48) / 20)
    return np.clip(sound, -0.99, 0.99).astype(np.float32)


def _tilted(sound: NDArray[np.float64], decibel_per_octave: float) -> NDArray[np.float64]:
    samples = scipy.fft.next_fast_len(len(sound), real=True)
    spectrum = scipy.fft.rfft(sound, samples)
    frequency = scipy.fft.rfftfreq(samples, 1 / SAMPLES_PER_SECOND)
    octaves = np.log2(np.maximum(frequency, TILT_LOWEST) / TILT_CENTRE)
    spectrum *= 10 ** (decibel_per_octave * octaves / 20)
    tilted: NDArray[np.float64] = scipy.fft.irfft(spectrum, samples)[: len(sound)]
    return tilted
