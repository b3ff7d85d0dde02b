"""Compute low-level descriptors of a voice every 10 ms: spectrum, pitch, voicing, energy.

No value is learned or depends on another clip. The descriptors are those of GeMAPS (Eyben et al.
2016) beside MFCC and log-mel, computed with librosa. Levels are in dB of full scale, so they depend
on the microphone as well as on the voice.
"""

from collections.abc import Mapping
from typing import Any

import librosa
import numpy as np
from librosa.effects import trim
from numpy.typing import NDArray

from ecmf.media import SAMPLE_RATE, Samples

HOP_LENGTH = 160
FRAMES_PER_SECOND = SAMPLE_RATE // HOP_LENGTH  # 100
N_FFT = 512  # 32 ms, in which a voice is nearly stationary
PITCH_FRAME_LENGTH = 1024  # 64 ms, four periods of the deepest voice

HANN_POWER = 3 / 8
"""Mean of the squared Hann window: the fraction of a signal's power that it passes."""

FULL_SCALE = 32_768
SILENCE_DB = -70.0
"""Audio whose loudest frame is below this, in dB of full scale, is silent (dither, dead line)."""

MIN_SECONDS = 0.1
"""Shorter audio, less than a syllable, has no measurable pitch or rhythm."""

MIN_PITCH_HZ, MAX_PITCH_HZ = 65.0, 600.0
REFERENCE_HZ = 150.0
"""Origin of the pitch in semitones, between men's and women's speech."""

VOICING_THRESHOLD = 0.5
"""Periodic fraction of the energy above which a frame is voiced."""

QUIET_BELOW_PEAK_DB = 35.0
"""A frame this far below the loudest is a pause, even if it is periodic (hum)."""

N_MELS = 40
N_MFCC = 20

Waveform = NDArray[np.float32]
"""Mono audio at SAMPLE_RATE in -1..1, (samples,)."""

Descriptor = NDArray[np.float64]
"""One descriptor over time, (frames, width)."""


def trim_silence(samples: Samples, top_db: float | None = 30.0) -> tuple[Waveform, float]:
    """Trim the silence before and after the voice; return the waveform and its start in seconds.

    Args:
        samples: The waveform, int16 at 16 kHz.
        top_db: A frame this many dB below the loudest is silent; None trims nothing.

    Returns:
        An empty waveform if it is silent or shorter than MIN_SECONDS.
    """
    waveform = samples.astype(np.float32) / np.float32(FULL_SCALE)
    empty = waveform[:0], 0.0
    if len(waveform) < MIN_SECONDS * SAMPLE_RATE or _peak_level(waveform) < SILENCE_DB:
        return empty
    if top_db is None:
        return waveform, 0.0
    trimmed, (first, _) = trim(waveform, top_db=top_db)
    if len(trimmed) < MIN_SECONDS * SAMPLE_RATE:
        return empty
    return trimmed, float(first) / SAMPLE_RATE


def _peak_level(waveform: Waveform) -> float:
    """Return the level of the loudest 32 ms, in dB of full scale."""
    level = librosa.feature.rms(y=waveform, frame_length=N_FFT, hop_length=HOP_LENGTH)
    return float(_to_db(level.max() ** 2))


def low_level_descriptors(waveform: Waveform) -> dict[str, Descriptor]:
    """Compute the descriptors of a waveform of `trim_silence`, all with the same number of frames.

    Returns:
        Descriptors by name: `log_mel` (40, dB), `mfcc` (20) with `mfcc_delta` and `mfcc_delta2`
        (per frame), `energy` (dB of full scale) and `energy_delta`, `centroid`, `bandwidth` and
        `rolloff` (Hz), `zero_crossings` (per sample), `flatness` (log10), `contrast` (7, dB),
        `slope` (3: below 500, to 1500, to 5000 Hz; dB per kHz), `alpha_ratio` and
        `hammarberg_index` (dB), `flux`, `pitch` (semitones from 150 Hz; meaningless where unvoiced)
        and `pitch_delta`, `voicing` (0..1), `harmonicity` (dB, harmonics to noise).
    """
    spectrum = librosa.stft(waveform, n_fft=N_FFT, hop_length=HOP_LENGTH)
    magnitude = np.abs(spectrum).astype("float64")  # (bins, frames)
    columns = {**_cepstrum(magnitude), **_spectral_shape(magnitude, waveform), **_pitch(waveform)}
    frames = magnitude.shape[1]
    return {name: values[:, :frames].T for name, values in columns.items()}


def voiced_frames(descriptors: Mapping[str, Descriptor]) -> NDArray[np.bool_]:
    """Return for each frame whether it is voiced: periodic, and not in a pause."""
    energy = descriptors["energy"][:, 0]
    periodic = descriptors["voicing"][:, 0] > VOICING_THRESHOLD
    voiced: NDArray[np.bool_] = periodic & (energy > energy.max() - QUIET_BELOW_PEAK_DB)
    return voiced


def _cepstrum(magnitude: NDArray[Any]) -> dict[str, NDArray[Any]]:
    mel = librosa.feature.melspectrogram(S=magnitude**2, sr=SAMPLE_RATE, n_mels=N_MELS)
    log_mel = librosa.power_to_db(mel, amin=1e-8, top_db=None)
    mfcc = librosa.feature.mfcc(S=log_mel, n_mfcc=N_MFCC)
    level = librosa.feature.rms(S=magnitude, frame_length=N_FFT)
    energy = _to_db(level**2 / HANN_POWER)
    return {
        "log_mel": log_mel,
        "mfcc": mfcc,
        "mfcc_delta": _delta(mfcc),
        "mfcc_delta2": _delta(mfcc, order=2),
        "energy": energy,
        "energy_delta": _delta(energy),
    }


def _spectral_shape(magnitude: NDArray[Any], waveform: Waveform) -> dict[str, NDArray[Any]]:
    power = magnitude**2
    hertz = librosa.fft_frequencies(sr=SAMPLE_RATE, n_fft=N_FFT)
    spectrum = {"S": magnitude, "sr": SAMPLE_RATE}

    def slope(low: float, high: float) -> NDArray[Any]:
        """Fit a line to the spectrum in dB; it is less steep for a pressed or shouted voice."""
        band = (hertz >= low) & (hertz < high)
        kilohertz = (hertz[band] - hertz[band].mean()) / 1000
        line: NDArray[Any] = kilohertz @ _to_db(power[band]) / (kilohertz @ kilohertz)
        return line

    low, high = (hertz >= 50) & (hertz < 1000), (hertz >= 1000) & (hertz < 5000)
    below, above = hertz < 2000, (hertz >= 2000) & (hertz < 5000)
    normalised = magnitude / (magnitude.sum(axis=0) + 1e-6)
    flux = np.sqrt((np.diff(normalised, axis=1, prepend=normalised[:, :1]) ** 2).sum(axis=0))
    return {
        "centroid": librosa.feature.spectral_centroid(**spectrum),
        "bandwidth": librosa.feature.spectral_bandwidth(**spectrum),
        "rolloff": librosa.feature.spectral_rolloff(**spectrum),
        "zero_crossings": librosa.feature.zero_crossing_rate(
            waveform, frame_length=N_FFT, hop_length=HOP_LENGTH
        ),
        "flatness": np.log10(librosa.feature.spectral_flatness(S=magnitude)),
        "contrast": librosa.feature.spectral_contrast(**spectrum, fmin=100, n_bands=6),
        "slope": np.stack([slope(0, 500), slope(500, 1500), slope(1500, 5000)]),
        "alpha_ratio": (_to_db(power[low].sum(0)) - _to_db(power[high].sum(0)))[None],
        "hammarberg_index": (_to_db(power[below].max(0)) - _to_db(power[above].max(0)))[None],
        "flux": flux[None],
    }


def _pitch(waveform: Waveform) -> dict[str, NDArray[Any]]:
    """Track the pitch with YIN and measure the periodicity at that pitch (Boersma 1993)."""
    hertz = librosa.yin(
        waveform,
        fmin=MIN_PITCH_HZ,
        fmax=MAX_PITCH_HZ,
        sr=SAMPLE_RATE,
        frame_length=PITCH_FRAME_LENGTH,
        hop_length=HOP_LENGTH,
    )
    padded = np.pad(waveform.astype("float64"), PITCH_FRAME_LENGTH // 2)
    frames = librosa.util.frame(
        padded, frame_length=PITCH_FRAME_LENGTH, hop_length=HOP_LENGTH, axis=0
    )
    window = np.hanning(PITCH_FRAME_LENGTH)
    correlation = _autocorrelation((frames - frames.mean(axis=1, keepdims=True)) * window)
    correlation /= _autocorrelation(window[None])
    period = np.round(SAMPLE_RATE / hertz).astype(int)
    periodic = np.take_along_axis(correlation, period[:, None], axis=1)[:, 0]
    voicing = np.clip(periodic, 1e-3, 1 - 1e-4)
    semitones = 12 * np.log2(hertz / REFERENCE_HZ)[None]
    return {
        "pitch": semitones,
        "pitch_delta": _delta(semitones),
        "voicing": voicing[None],
        "harmonicity": _to_db(voicing / (1 - voicing))[None],
    }


def _autocorrelation(frames: NDArray[Any]) -> NDArray[Any]:
    """Map (frames, samples) to (frames, lags), 1 at lag 0, up to the period of MIN_PITCH_HZ."""
    lags = int(SAMPLE_RATE / MIN_PITCH_HZ) + 2
    power = np.abs(np.fft.rfft(frames, 2 * frames.shape[1])) ** 2
    sums = np.fft.irfft(power)[:, :lags]
    result: NDArray[Any] = sums / np.maximum(sums[:, :1], 1e-9)
    return result


def _delta(values: NDArray[Any], order: int = 1) -> NDArray[Any]:
    delta: NDArray[Any] = librosa.feature.delta(values, order=order, mode="nearest")
    return delta


def _to_db(power: Any) -> Any:
    return 10 * np.log10(np.maximum(power, 1e-8))
