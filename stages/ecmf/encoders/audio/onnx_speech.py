"""Encode speech with two ONNX files: a front end computes frames, a network embeds windows of them.

The worked example is Google's speech embedding (J. Lin et al., "Training keyword spotters with
limited and synthesized speech data", ICASSP 2020; Apache-2.0) as openWakeWord publishes it,
`melspectrogram.onnx` and `embedding_model.onnx`: frames of 32 mel bands every 10 ms, windows of 76
frames, 96 numbers. The defaults are its numbers.

Its front end is not local: it raises every value to at least 80 dB below the maximum of its whole
input, including other clips of a batch. In RAVDESS that affects up to half of a clip, and a window
computed by itself has an embedding that differs by up to 40 %. So the front end is run on one clip
at a time; a long clip is cut between frames, and `dynamic_range` then applies the floor of the
whole clip to the parts: the same numbers as of the whole at once. __init__ checks this on a test
signal before any clip is read.

Measured with these files and onnxruntime 1.31 on the CPU: a row is the same to the bit at any
position and in any company of a batch, in batches of 1 and 16, with 1, 2 and 4 threads; and so are
frames wherever a clip is cut. On RAVDESS (960 clips, 8 folds by actor, logistic regression,
weighted F1) the mean of the windows gives .496, mean and deviation .524.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ecmf.acoustics.descriptors import trim_silence
from ecmf.config import Section
from ecmf.encoding.network import Chunk, Network
from ecmf.encoding.onnx_frontend import FrontEnd
from ecmf.errors import ParamsError
from ecmf.media import SAMPLE_RATE, Audio, Features
from ecmf.pretrained import onnx_model
from ecmf.storage.files import verify_sha256

WEIGHTS_LICENCE = "that of the files"
NEEDS = "two ONNX files, a front end and a network"

REMEDY = "put an ONNX file there, or name another one in `{option}`"


class Options(Section):
    """Files, and the conversion of the front end's frames to the network's windows.

    The front end takes samples on the scale of int16, (1, samples); `dynamic_range` is in the unit
    of its output.
    """

    front_end: str = Field(description="ONNX file of the front end.")
    front_end_sha256: str = Field("", description="Its SHA-256; without it, the error names it.")
    weights: str = Field(description="ONNX file of the network.")
    sha256: str = Field("", description="Its SHA-256; without it, the error names it.")
    dynamic_range: float | None = Field(
        80.0, gt=0, description="Depth of the front end's floor below its maximum; null: no floor."
    )
    scale: float = Field(0.1, description="The network reads `value * scale + offset`.")
    offset: float = Field(2.0, description="Added to the scaled values of the front end.")
    frames: int = Field(76, ge=1, description="Frames per window.")
    hop: int = Field(8, ge=1, description="Frames from one window to the next.")
    rows: Literal["clip", "window"] = Field("clip", description="One row per `clip` or `window`.")
    pooling: Literal["mean", "mean_deviation"] = Field(
        "mean_deviation", description="Of windows; with the deviation a row is twice as wide."
    )

    @model_validator(mode="after")
    def _pooling_makes_a_clip(self) -> Self:
        if self.rows == "window" and self.pooling != "mean_deviation":
            raise ValueError("pooling has no effect with rows: window")
        return self


class Encoder(Network[Audio]):
    """Encode waveforms as rows, each at the middle of the audio that it covers.

    Only whole windows are encoded; the rest after the last one, less than a hop and a frame, is
    ignored. Audio shorter than a window is placed in the middle of a window of silence (measured on
    0.4 s of RAVDESS, correlation of the embedding with that of the full window: .80; .04 with the
    silence after it, .11 with the audio repeated); its deviation is 0. Silence, and audio below
    0.1 s, has no row.

    Raises:
        MissingFileError: a file is absent, has another hash, or is no ONNX file.
        ParamsError: the files do not fit each other or the options, or the front end computes other
            frames for a clip cut into parts.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        path = verify_sha256(
            options.front_end, options.front_end_sha256, REMEDY.format(option="front_end")
        )
        self._path = verify_sha256(options.weights, options.sha256, REMEDY.format(option="weights"))
        self._graph = onnx_model.read_model(self._path)
        self._graph.has_batch_size_one()
        self._output = self._graph.output()
        self._window_shape, bands = self._input_window()
        self._front_end = FrontEnd(path, bands, options.dynamic_range)
        self._window_samples = self._front_end.sample_count(options.frames)
        self._window_dim = self._output_dim()
        deviation = options.rows == "clip" and options.pooling == "mean_deviation"
        self.dim = 2 * self._window_dim if deviation else self._window_dim
        self.provenance: Mapping[str, Any] = {
            "front_end": options.front_end_sha256,
            "weights": options.sha256,
            "samples_per_frame": self._front_end.frame_length,
            "samples_to_the_next": self._front_end.hop_length,
            "onnxruntime": onnxruntime.__version__,
        }

    def split(self, clip: Audio) -> Sequence[Chunk]:
        """Compute the windows of a clip, one chunk each; pad audio shorter than a window.

        The front end runs here, in any thread: sessions of onnxruntime are thread-safe.
        """
        samples = clip.samples
        if not len(trim_silence(samples, None)[0]):
            return []
        if (missing := self._window_samples - len(samples)) > 0:
            samples = np.pad(samples, (missing // 2, missing - missing // 2))
        frames = self._front_end(samples)
        frames = frames * np.float32(self._options.scale) + np.float32(self._options.offset)
        last = len(frames) - self._options.frames
        return [
            Chunk({"frames": frames[first : first + self._options.frames]})
            for first in range(0, last + 1, self._options.hop)
        ]

    def forward(self, batch: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Compute embeddings (chunks, dim) from windows (chunks, frames, bands)."""
        windows = batch["frames"].reshape(-1, *self._window_shape)
        output = self._graph.run(self._output.name, windows)
        return output.reshape(len(windows), self._window_dim)

    def merge(self, clip: Audio, results: Sequence[NDArray[Any]]) -> Features:
        """Pool the windows of a clip, or return one row per window."""
        if not results:
            return self.empty_features()
        rows = np.stack(results)
        if self._options.rows == "window":
            hop_length = self._options.hop * self._front_end.hop_length
            first = min(len(clip.samples), self._window_samples) / 2
            times = (np.arange(len(rows)) * hop_length + first) / SAMPLE_RATE
            return self.features(rows, times)
        parts = [rows.mean(axis=0, dtype="float64")]
        if self._options.pooling == "mean_deviation":
            parts.append(rows.std(axis=0, dtype="float64"))
        middle = len(clip.samples) / 2 / SAMPLE_RATE
        return self.features(np.concatenate(parts)[None], np.array([middle]))

    def _input_window(self) -> tuple[Sequence[int], int]:
        """Return the shape of a window as the network reads it, and the bands of a frame."""
        shape = self._graph.input().shape
        sides = shape[1:]
        axes = [axis for axis, side in enumerate(sides) if side != 1]
        frames, bands = (sides[axis] for axis in axes) if len(axes) == 2 else (None, None)
        if not bands:
            raise ParamsError(
                f"{self._path} takes {shape}: choose a network that takes a batch of windows, "
                "(frames, bands), with a fixed number of bands"
            )
        if frames not in (None, self._options.frames):
            raise ParamsError(
                f"{self._path} takes windows of {frames} frames of {bands} bands, not of frames: "
                f"{self._options.frames}"
            )
        return [side or self._options.frames for side in sides], bands

    def _output_dim(self) -> int:
        """Return the width of the network's embedding of a window."""
        sides = self._output.shape[1:]
        if None in sides or sum(side != 1 for side in sides) > 1:
            raise ParamsError(
                f"{self._path} returns {self._output.shape}: choose a network that returns one row "
                "per window, of a fixed width"
            )
        return math.prod(side or 1 for side in sides)
