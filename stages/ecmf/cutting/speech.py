"""Find speech with Silero VAD (MIT; its weights are in the package `silero-vad`)."""

from array import array

import numpy as np
import torch
from silero_vad import get_speech_timestamps_from_probs, load_silero_vad

from ecmf.cutting.utterances import Span
from ecmf.media import SAMPLE_RATE, Samples

WINDOW = 512
"""Samples of each probability: the network has no other window at 16 kHz."""

FULL_SCALE = 1 << 15


class SpeechDetector:
    """Compute the probability of speech of each window of a waveform that comes in blocks.

    Four bytes per window are kept, 0.5 MB per hour.
    """

    def __init__(self) -> None:
        self._model = load_silero_vad(onnx=True)
        self._rest = np.empty(0, "int16")
        self._probabilities = array("f")

    def feed(self, samples: Samples) -> None:
        """Take the next samples, of any number."""
        samples = np.concatenate([self._rest, samples])
        whole = len(samples) // WINDOW * WINDOW
        for window in samples[:whole].reshape(-1, WINDOW).astype("float32") / FULL_SCALE:
            self._probabilities.append(float(self._model(torch.from_numpy(window), SAMPLE_RATE)))
        self._rest = samples[whole:]

    def spans(self, shortest: float, longest: float, silence: float) -> list[Span]:
        """Return the spans of speech in seconds of sound.

        A pause of `silence` seconds ends a span. One longer than `longest` is divided at its
        longest pause, and one shorter than `shortest` is left out.
        """
        found = get_speech_timestamps_from_probs(
            self._probabilities,
            min_speech_duration_ms=1000 * shortest,
            max_speech_duration_s=longest,
            min_silence_duration_ms=1000 * silence,
            speech_pad_ms=0,
        )
        return [(span["start"] / SAMPLE_RATE, span["end"] / SAMPLE_RATE) for span in found]
