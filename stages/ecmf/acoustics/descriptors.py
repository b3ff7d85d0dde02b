"""What can be measured of a voice, every 10 ms: spectrum, pitch, voicing, energy.

Nothing is learned and nothing depends on another clip. The descriptors are those of the field's
minimal sets (GeMAPS, Eyben et al. 2016) beside MFCC and log-mel, computed with librosa. Levels are
in dB of full scale, so they speak of the microphone as well as of the voice.
"""

from collections.abc import Mapping
from typing import Any

import librosa
import numpy as np
from librosa.effects import trim
from numpy.typing import NDArray

from ecmf.media import SAMPLES_PER_SECOND, Samples

SAMPLES_PER_STEP = 160
STEPS_PER_SECOND = SAMPLES_PER_SECOND // SAMPLES_PER_STEP  # 100
SAMPLES_PER_WINDOW = 512  # 32 ms, short enough for one opening of the vocal folds to be steady
SAMPLES_PER_PITCH_WINDOW = 1024  # 64 ms, four periods of the deepest voice

HANN_POWER = 3 / 8
"""Share of a sound's power that the window of the spectrum lets through."""

FULL_SCALE = 32_768
SILENCE_DB = -70.0
"""Sound whose loudest step stays below this, in dB of full scale, is dither or a dead line."""

SHORTEST_SECONDS = 0.1
"""A sound below the length of a syllable has no pitch, no rhythm and no spread to measure."""

LOWEST_HZ, HIGHEST_HZ = 65.0, 600.0
MIDDLE_HZ = 150.0
"""Between men's and women's speech: the origin of pitch in semitones."""

VOICED_SHARE = 0.5
"""Share of the energy that repeats with the pitch, above which a step counts as voiced."""

QUIET_BELOW_PEAK_DB = 35.0
"""A step this far below the loudest one is a pause, however periodic its hum is."""

MEL_BANDS = 40
CEPSTRA = 20

Steps = NDArray[np.float64]
"""One descriptor over time, (steps, width)."""


def spoken(samples: Samples, decibels: float | None = 30.0) -> tuple[NDArray[np.float32], float]:
    """Cut the quiet before and after the voice; return the rest and where it starts, in seconds.

    Args:
        samples: The waveform, int16 at 16 kHz.
        decibels: A step quieter than the loudest one by more than this is quiet; None cuts nothing.

    Returns:
        The waveform in -1..1, with no sample at all where there is only silence or less than
        SHORTEST_SECONDS of sound.
    """
    waveform = samples.astype(np.float32) / np.float32(FULL_SCALE)
    nothing = waveform[:0], 0.0
    if len(waveform) < SHORTEST_SECONDS * SAMPLES_PER_SECOND or loudest(waveform) < SILENCE_DB:
        return nothing
    if decibels is None:
        return waveform, 0.0
    kept, (first, _) = trim(waveform, top_db=decibels)
    if len(kept) < SHORTEST_SECONDS * SAMPLES_PER_SECOND:
        return nothing
    return kept, float(first) / SAMPLES_PER_SECOND


def loudest(waveform: NDArray[np.float32]) -> float:
    """Return the level of the loudest 32 ms, in dB of full scale."""
    steps = librosa.feature.rms(
        y=waveform, frame_length=SAMPLES_PER_WINDOW, hop_length=SAMPLES_PER_STEP
    )
    return float(_decibels(steps.max() ** 2))


def measure(waveform: NDArray[np.float32]) -> dict[str, Steps]:
    """Measure what `spoken` returned, step by step; all descriptors have the same number of steps.

    Returns:
        Descriptors by name: `log_mel` (40, dB), `mfcc` (20) with `mfcc_delta` and `mfcc_delta2`
        (per step), `energy` (dB of full scale) and `energy_delta`, `centroid`, `bandwidth` and
        `rolloff` (Hz), `zero_crossings` (share of samples), `flatness` (log10), `contrast` (7, dB),
        `slope` (3: below 500, to 1500, to 5000 Hz; dB per kHz), `alpha_ratio` and
        `hammarberg_index` (dB), `flux`, `pitch` (semitones from 150 Hz; only means something where
        voiced) and `pitch_delta`, `voicing` (0..1), `harmonicity` (dB, harmonics to noise).
    """
    magnitude = np.abs(
        librosa.stft(waveform, n_fft=SAMPLES_PER_WINDOW, hop_length=SAMPLES_PER_STEP)
    ).astype("float64")  # (bins, steps)
    columns = {**_cepstrum(magnitude), **_shape(magnitude, waveform), **_pitch(waveform)}
    steps = magnitude.shape[1]
    return {name: values[:, :steps].T for name, values in columns.items()}


def voiced(measured: Mapping[str, Steps]) -> NDArray[np.bool_]:
    """Say of each step whether a voice sounds: periodic, and not in a pause."""
    energy = measured["energy"][:, 0]
    periodic = measured["voicing"][:, 0] > VOICED_SHARE
    result: NDArray[np.bool_] = periodic & (energy > energy.max() - QUIET_BELOW_PEAK_DB)
    return result


def _cepstrum(magnitude: NDArray[Any]) -> dict[str, NDArray[Any]]:
    mel = librosa.feature.melspectrogram(S=magnitude**2, sr=SAMPLES_PER_SECOND, n_mels=MEL_BANDS)
    log_mel = librosa.power_to_db(mel, amin=1e-8, top_db=None)
    mfcc = librosa.feature.mfcc(S=log_mel, n_mfcc=CEPSTRA)
    level = librosa.feature.rms(S=magnitude, frame_length=SAMPLES_PER_WINDOW)
    energy = _decibels(level**2 / HANN_POWER)
    return {
        "log_mel": log_mel,
        "mfcc": mfcc,
        "mfcc_delta": _delta(mfcc),
        "mfcc_delta2": _delta(mfcc, order=2),
        "energy": energy,
        "energy_delta": _delta(energy),
    }


def _shape(magnitude: NDArray[Any], waveform: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    power = magnitude**2
    hertz = librosa.fft_frequencies(sr=SAMPLES_PER_SECOND, n_fft=SAMPLES_PER_WINDOW)
    spectrum = {"S": magnitude, "sr": SAMPLES_PER_SECOND}

    def slope(low: float, high: float) -> NDArray[Any]:
        """Fit a line to the spectrum in dB: a pressed or shouted voice falls less steeply."""
        band = (hertz >= low) & (hertz < high)
        kilohertz = (hertz[band] - hertz[band].mean()) / 1000
        line: NDArray[Any] = kilohertz @ _decibels(power[band]) / (kilohertz @ kilohertz)
        return line

    low, high = (hertz >= 50) & (hertz < 1000), (hertz >= 1000) & (hertz < 5000)
    below, above = hertz < 2000, (hertz >= 2000) & (hertz < 5000)
    share = magnitude / (magnitude.sum(axis=0) + 1e-6)
    change = np.sqrt((np.diff(share, axis=1, prepend=share[:, :1]) ** 2).sum(axis=0))
    return {
        "centroid": librosa.feature.spectral_centroid(**spectrum),
        "bandwidth": librosa.feature.spectral_bandwidth(**spectrum),
        "rolloff": librosa.feature.spectral_rolloff(**spectrum),
        "zero_crossings": librosa.feature.zero_crossing_rate(
            waveform, frame_length=SAMPLES_PER_WINDOW, hop_length=SAMPLES_PER_STEP
        ),
        "flatness": np.log10(librosa.feature.spectral_flatness(S=magnitude)),
        "contrast": librosa.feature.spectral_contrast(**spectrum, fmin=100, n_bands=6),
        "slope": np.stack([slope(0, 500), slope(500, 1500), slope(1500, 5000)]),
        "alpha_ratio": (_decibels(power[low].sum(0)) - _decibels(power[high].sum(0)))[None],
        "hammarberg_index": (_decibels(power[below].max(0)) - _decibels(power[above].max(0)))[None],
        "flux": change[None],
    }


def _pitch(waveform: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Find the pitch with yin, and how much of the sound repeats with it (Boersma 1993)."""
    hertz = librosa.yin(
        waveform,
        fmin=LOWEST_HZ,
        fmax=HIGHEST_HZ,
        sr=SAMPLES_PER_SECOND,
        frame_length=SAMPLES_PER_PITCH_WINDOW,
        hop_length=SAMPLES_PER_STEP,
    )
    padded = np.pad(waveform.astype("float64"), SAMPLES_PER_PITCH_WINDOW // 2)
    frames = librosa.util.frame(
        padded, frame_length=SAMPLES_PER_PITCH_WINDOW, hop_length=SAMPLES_PER_STEP, axis=0
    )
    window = np.hanning(SAMPLES_PER_PITCH_WINDOW)
    repeats = _autocorrelation((frames - frames.mean(axis=1, keepdims=True)) * window)
    repeats /= _autocorrelation(window[None])
    period = np.round(SAMPLES_PER_SECOND / hertz).astype(int)
    share = np.clip(np.take_along_axis(repeats, period[:, None], axis=1)[:, 0], 1e-3, 1 - 1e-4)
    semitones = 12 * np.log2(hertz / MIDDLE_HZ)[None]
    return {
        "pitch": semitones,
        "pitch_delta": _delta(semitones),
        "voicing": share[None],
        "harmonicity": _decibels(share / (1 - share))[None],
    }


def _autocorrelation(frames: NDArray[Any]) -> NDArray[Any]:
    """(frames, samples) -> (frames, lags), 1 at lag 0, up to the period of the deepest voice."""
    lags = int(SAMPLES_PER_SECOND / LOWEST_HZ) + 2
    power = np.abs(np.fft.rfft(frames, 2 * frames.shape[1])) ** 2
    sums = np.fft.irfft(power)[:, :lags]
    result: NDArray[Any] = sums / np.maximum(sums[:, :1], 1e-9)
    return result


def _delta(values: NDArray[Any], order: int = 1) -> NDArray[Any]:
    changed: NDArray[Any] = librosa.feature.delta(values, order=order, mode="nearest")
    return changed


def _decibels(power: Any) -> Any:
    return 10 * np.log10(np.maximum(power, 1e-8))
