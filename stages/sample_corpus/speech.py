"""Synthesise the audio of the clips from sentences and prosody, with pauses and room noise."""

import logging
from collections.abc import Callable, Sequence

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from ecmf.media import SAMPLE_RATE
from ecmf.params import VoiceName
from sample_corpus import babble, espeak
from sample_corpus.actors import Voice
from sample_corpus.espeak import Utterance
from sample_corpus.prosody import Prosody

Waveform = NDArray[np.float32]
"""-1 to 1 at SAMPLE_RATE: (samples,)."""

SYNTHESISERS: dict[VoiceName, Callable[[Sequence[Utterance]], list[Waveform]]] = {
    "espeak": espeak.synthesise,
    "babble": babble.synthesise,
}
REFERENCE_RMS = 0.06
"""Root mean square of a voice of 0 dB."""
TILT_CENTRE, TILT_MINIMUM = 500, 60
"""Hz at which the tilt is 0 dB, and below which it is constant."""
TREMOLO_FREQUENCY = 5.5
ENVELOPE_SAMPLES = 320
SECONDS_BEFORE, SECONDS_AFTER = 0.15, 0.25


def resolve_voice(voice: VoiceName) -> VoiceName:
    """Return `voice`, or babble with a warning if espeak is not installed."""
    if voice == "espeak" and not espeak.is_installed():
        logging.getLogger(__name__).warning(
            "espeak is not installed: the actors babble instead, so the clips have other bytes. "
            "Run `pip install '.[sample-voice]'` (GPL-3) for words, or set voice: babble"
        )
        return "babble"
    return voice


def make_utterance(text: str, voice: Voice, prosody: Prosody) -> Utterance:
    """Return the sentence with espeak's parameters, each clipped to its range."""
    return Utterance(
        text=text,
        variant=voice.variant,
        pitch=_clip_to_int(voice.pitch + prosody.pitch, 0, 99),
        pitch_range=_clip_to_int(50 + prosody.pitch_range, 0, 99),
        rate=_clip_to_int(voice.rate + prosody.rate, 90, 260),
    )


def _clip_to_int(value: float, minimum: int, maximum: int) -> int:
    return int(min(max(value, minimum), maximum))


def render_voice(
    speech: Waveform,
    voice: Voice,
    prosody: Prosody,
    shortest_seconds: float,
    rng: np.random.Generator,
) -> Waveform:
    """Add timbre, loudness, a pause before and after, and room noise to synthesised speech."""
    sound = _tilt(speech.astype(np.float64), prosody.tilt)
    seconds = np.arange(len(sound)) / SAMPLE_RATE
    envelope = np.sqrt(uniform_filter1d(sound**2, ENVELOPE_SAMPLES, mode="constant"))
    breath = max(0, prosody.breath) * envelope * rng.standard_normal(len(sound))
    frequency = TREMOLO_FREQUENCY + rng.uniform(-0.5, 0.5)
    sound = sound * (1 + max(0, prosody.tremolo) * np.sin(2 * np.pi * frequency * seconds)) + breath
    loudness = REFERENCE_RMS * 10 ** ((prosody.loudness + voice.loudness) / 20)
    sound *= loudness / (np.sqrt(np.mean(sound**2)) + 1e-9)
    before, after = (int(part * SAMPLE_RATE) for part in (SECONDS_BEFORE, SECONDS_AFTER))
    shortest = int(shortest_seconds * SAMPLE_RATE)
    sound = np.pad(sound, (before, max(after, shortest - before - len(sound))))
    sound += rng.standard_normal(len(sound)) * 10 ** (rng.uniform(-62, -48) / 20)
    return np.clip(sound, -0.99, 0.99).astype(np.float32)


def _tilt(sound: NDArray[np.float64], db_per_octave: float) -> NDArray[np.float64]:
    samples = scipy.fft.next_fast_len(len(sound), real=True)
    spectrum = scipy.fft.rfft(sound, samples)
    frequency = scipy.fft.rfftfreq(samples, 1 / SAMPLE_RATE)
    octaves = np.log2(np.maximum(frequency, TILT_MINIMUM) / TILT_CENTRE)
    spectrum *= 10 ** (db_per_octave * octaves / 20)
    tilted: NDArray[np.float64] = scipy.fft.irfft(spectrum, samples)[: len(sound)]
    return tilted
