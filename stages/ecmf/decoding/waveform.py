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

MAX_RATE = 1_000_000
"""Sound is recorded at up to 768 kHz; the resampler takes minutes for rates of gigahertz."""

MAX_SECONDS = 4.5 * 3600
"""Longest waveform of a clip: 520 MB, about half of the memory that a worker may take."""


class WaveformBuilder:
    """Build a waveform from the frames of an audio track, in order.

    Channels are averaged with equal weights: a voice in one of two channels becomes half as loud.
    No library's mixing rule for a channel layout is used. Gaps between the timestamps of frames are
    not filled.
    """

    def __init__(self) -> None:
        self._quantised = bytearray()
        self._rate = 0
        self._resampler: soxr.ResampleStream | None = None

    def add(self, frame: av.AudioFrame, kept: slice = slice(None)) -> None:
        """Append the `kept` samples of a frame of any sample format.

        Raises:
            ClipError: its rate is not that of the frames before, it holds NaN or infinity, or the
                waveform becomes longer than MAX_SECONDS.
        """
        if self._rate not in (0, frame.sample_rate):
            raise ClipError(
                f"its sample rate changes from {self._rate} to {frame.sample_rate} Hz: "
                "convert the file to one rate"
            )
        if frame.sample_rate > MAX_RATE:
            raise ClipError(f"its sample rate is {frame.sample_rate} Hz: its header is damaged")
        if not self._rate and frame.sample_rate != SAMPLE_RATE:
            self._resampler = soxr.ResampleStream(
                frame.sample_rate, SAMPLE_RATE, 1, dtype="float32", quality=RESAMPLER_QUALITY
            )
        self._rate = frame.sample_rate
        values = _normalise(_to_array(frame)[:, kept])
        self._append(values.mean(axis=0, dtype="float64").astype("float32"))

    def samples(self) -> Samples:
        """Return the waveform, (samples,), clipped to 16 bits; no frame can be added after this."""
        if self._resampler:
            self._append(np.empty(0, "float32"), last=True)
        return np.frombuffer(self._quantised, "int16")

    def drain(self) -> Samples:
        """Return the samples that were not yet returned, and forget them."""
        samples = np.frombuffer(self._quantised, "int16")
        self._quantised = bytearray()
        return samples

    def _append(self, mono: NDArray[np.float32], *, last: bool = False) -> None:
        """Resample and quantise a block; so the memory is that of 16-bit samples at 16 kHz."""
        if not np.isfinite(mono).all():
            raise ClipError("its sound holds NaN or infinity: export the file again")
        growth = len(mono) / self._rate
        if len(self._quantised) / (2 * SAMPLE_RATE) + growth > MAX_SECONDS:
            raise ClipError(f"its sound is longer than {MAX_SECONDS / 3600:g} hours: cut it")
        if self._resampler:
            mono = self._resampler.resample_chunk(mono, last=last)
        quantised = np.clip(np.rint(mono * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1)
        self._quantised += quantised.astype("int16").data


def _to_array(frame: av.AudioFrame) -> NDArray[np.generic]:
    """Return the samples of a frame as (channels, samples)."""
    if frame.format.name in ("s64", "s64p"):  # PyAV converts all formats but these
        planes = [np.frombuffer(plane, "int64") for plane in frame.planes]
        per_plane = frame.samples * frame.layout.nb_channels // len(planes)
        values: NDArray[np.generic] = np.stack([plane[:per_plane] for plane in planes])
    else:
        values = frame.to_ndarray()
    if not frame.format.is_planar:  # (1, samples * channels) -> (channels, samples)
        values = values.reshape(-1, frame.layout.nb_channels).T
    return values


def _normalise(values: NDArray[np.generic]) -> NDArray[np.floating]:
    """Scale samples of any format to -1 ... 1."""
    if values.dtype.kind == "f":
        return values  # type: ignore[return-value]
    zero = 0 if values.dtype.kind == "i" else 128  # the only unsigned format has 8 bits
    return (values.astype("float64") - zero) / 2.0 ** (8 * values.dtype.itemsize - 1)
