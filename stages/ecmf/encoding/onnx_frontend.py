"""Compute spectrogram frames with an ONNX file, in parts; they equal those of the whole clip."""

import functools
from bisect import bisect_right
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecmf.errors import ParamsError
from ecmf.media import SAMPLE_RATE, Samples
from ecmf.pretrained import onnx_model

Frames = NDArray[np.float32]
"""Output of a front end, (frames, bands)."""

MAX_FRAMES_PER_RUN = 3000
"""Maximum frames per run: 30 s at a hop of 10 ms, for which a front end needs about 20 MB."""

TOLERANCE = 1e-3
"""Maximum difference between frames computed in parts and at once."""


class FrontEnd:
    """Compute frames of samples in the range of int16; thread-safe.

    `frame_length` (samples per frame) and `hop_length` (samples from one frame to the next) are
    measured on silence. `dynamic_range` is the range below the maximum to which the file clips
    values; None if it does not. The floor of a part is lower than or equal to that of the whole
    clip, so clipping all parts to the latter gives the frames of the whole.

    Raises:
        MissingFileError: the file is not an ONNX file.
        ParamsError: its output is not frames of `bands` numbers, or differs between a waveform and
            its parts.
    """

    def __init__(self, path: Path, bands: int, dynamic_range: float | None) -> None:
        self._model = onnx_model.read_model(path)
        self._path, self._bands, self._range = path, bands, dynamic_range
        self._output = self._model.output().name
        shape = self._model.input().shape
        if shape not in ((None, None), (1, None)):
            raise ParamsError(
                f"{path} takes {shape}: a front end must take audio of any length, (1, samples)"
            )
        try:
            self.frame_length, self.hop_length = self._measure_geometry()
            self._check_chunking()
        except onnx_model.INPUT_ERRORS as error:
            raise ParamsError(f"{path} computes no frames of audio: {error}") from error

    def __call__(self, samples: Samples, max_frames: int = MAX_FRAMES_PER_RUN) -> Frames:
        """Compute the frames of `samples`, at least one, `max_frames` at a time."""
        count = (len(samples) - self.frame_length) // self.hop_length + 1
        parts = []
        for first in range(0, count, max_frames):
            start = first * self.hop_length
            length = self.sample_count(min(max_frames, count - first))
            parts.append(self._frames(samples[start : start + length]))
        frames = np.concatenate(parts)
        return frames if self._range is None else np.maximum(frames, frames.max() - self._range)

    def sample_count(self, frames: int) -> int:
        """Return the number of samples that `frames` frames cover."""
        return (frames - 1) * self.hop_length + self.frame_length

    def _frames(self, samples: Samples) -> Frames:
        batch = samples.astype(np.float32)[None]
        output = self._model.run(self._output, batch)
        if output.shape[-1] != self._bands or output.size != self._bands * output.shape[-2]:
            raise ParamsError(
                f"{self._path} returns {output.shape} for {batch.shape}, but the network takes "
                f"frames of {self._bands} numbers"
            )
        frames: Frames = output.reshape(-1, self._bands)
        return frames

    def _measure_geometry(self) -> tuple[int, int]:
        """Measure (frame length, hop length) in samples, by counting frames of silence."""
        count = functools.cache(lambda samples: len(self._frames(np.zeros(samples, np.int16))))

        def next_frame_at(samples: int) -> int:
            """Return the shortest length above `samples` that has one more frame."""
            longer = range(samples, samples + SAMPLE_RATE)
            return samples + bisect_right(longer, count(samples), key=count)

        first = next_frame_at(SAMPLE_RATE)
        hop_length = next_frame_at(first) - first
        frame_length = first - (count(first) - 1) * hop_length
        if frame_length <= 0:
            raise ParamsError(
                f"{self._path} pads its input with samples before and after it: export it without "
                "padding (center=False)"
            )
        return frame_length, hop_length

    def _check_chunking(self) -> None:
        """Raise ParamsError if the frames of parts differ from those of the whole waveform."""
        levels = np.repeat([0, 8000, 0, 50], SAMPLE_RATE)
        samples = (np.random.default_rng(0).normal(size=len(levels)) * levels).astype(np.int16)
        whole = self._frames(samples)
        parts = self(samples, max_frames=max(1, len(whole) // 7))
        if parts.shape != whole.shape or not np.allclose(parts, whole, rtol=0, atol=TOLERANCE):
            raise ParamsError(
                f"{self._path} returns other frames for parts of a waveform than for the whole, "
                f"with dynamic_range: {self._range}. If it has a floor relative to the maximum, "
                f"{whole.max() - whole.min():.6g} may be right; if it normalises audio by its mean "
                "or deviation, it cannot be used"
            )
