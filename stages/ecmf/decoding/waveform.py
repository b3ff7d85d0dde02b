"""Mix, resample and quantise decoded audio: one channel of 16-bit samples at 16 kHz."""

import av
import numpy as np
import soxr
from numpy.typing import NDArray

from ecmf.errors import ClipError
from ecmf.media import SAMPLE_RATE, Samples

FULL_SCALE = 1 << 15
"""The 16-bit sample value of an amplitude of 1.0."""

RESAMPLER_QUALITY = "HQ"


class WaveformBuilder:
    """Build a waveform from the frames of an audio track, in order.

    Channels are averaged with equal weights: a voice in one of two channels becomes half as loud.
    No library's mixing rule for a channel layout is used. Gaps between the timestamps of frames are
    not filled.
    """

    def __init__(self) -> None:
        self._chunks: list[NDArray[np.float32]] = []
        self._rate = 0

    def add(self, frame: av.AudioFrame) -> None:
        """Append a frame of any sample format; raises ClipError if the sample rate changes."""
        if self._rate not in (0, frame.sample_rate):
            raise ClipError(
                f"its sample rate changes from {self._rate} to {frame.sample_rate} Hz: "
                "convert the file to one rate"
            )
        self._rate = frame.sample_rate
        values = frame.to_ndarray()
        if not frame.format.is_planar:  # (1, samples * channels) -> (channels, samples)
            values = values.reshape(-1, frame.layout.nb_channels).T
        self._chunks.append(_normalise(values).mean(axis=0, dtype="float64").astype("float32"))

    def samples(self) -> Samples:
        """Return the waveform, (samples,), clipped to 16 bits; raises ClipError for NaN or inf."""
        if not self._chunks:
            return np.empty(0, "int16")
        mono = np.concatenate(self._chunks)
        if not np.isfinite(mono).all():
            raise ClipError("its sound holds NaN or infinity: export the file again")
        if self._rate != SAMPLE_RATE:
            mono = soxr.resample(mono, self._rate, SAMPLE_RATE, quality=RESAMPLER_QUALITY)
        return np.clip(np.rint(mono * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype("int16")


def _normalise(values: NDArray[np.generic]) -> NDArray[np.floating]:
    """Scale samples of any format to -1 ... 1."""
    if values.dtype.kind == "f":
        return values  # type: ignore[return-value]
    zero = 0 if values.dtype.kind == "i" else 128  # the only unsigned format has 8 bits
    return (values.astype("float64") - zero) / 2.0 ** (8 * values.dtype.itemsize - 1)
