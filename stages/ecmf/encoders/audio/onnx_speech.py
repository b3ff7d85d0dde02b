"""A voice as two ONNX files hear it: a front end makes frames of sound, a network rows of frames.

The worked example is Google's speech embedding (J. Lin et al., "Training keyword spotters with
limited and synthesized speech data", ICASSP 2020; Apache-2.0) as openWakeWord publishes it,
`melspectrogram.onnx` and `embedding_model.onnx`: frames of 32 mel bands every 10 ms, windows of 76
frames, 96 numbers. The defaults are its numbers.

Its front end is not local: it lifts whatever lies more than 80 dB below the loudest moment of all
that it is given at once, a batch of other clips included. In RAVDESS that is up to half of a clip,
and a window heard by itself has an embedding that differs by up to 40 %. So it is asked for one
clip at a time; a long clip is cut between frames, and `dynamic_range` then lifts the parts to what
the whole clip's loudest moment asks for: the same numbers as of the whole at once. That they are,
is tried with a sound before any clip is read.

Measured with these files and onnxruntime 1.31 on the CPU: a row is the same to the bit in any place
and company of a batch, in batches of 1 and 16, with 1, 2 and 4 threads; and so are frames wherever
a sound is cut. On RAVDESS (960 clips, 8 folds by actor, logistic regression, weighted F1) the mean
of the windows gives .496, mean and deviation .524.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ecmf.acoustics.descriptors import spoken
from ecmf.config import Section
from ecmf.encoding.network import Network, Piece
from ecmf.encoding.onnx_frontend import FrontEnd
from ecmf.errors import ParamsError
from ecmf.media import SAMPLES_PER_SECOND, Features, Sound
from ecmf.pretrained import onnx_model
from ecmf.storage.files import verified

REMEDY = "put an ONNX file there, or name another one in `{option}`"


class Options(Section):
    """Which files, and how they go together.

    The front end takes samples on the scale of int16, (1, samples); the network takes windows of
    `frames` frames, `hop` frames apart, of numbers `frame * scale + offset`. `dynamic_range` is by
    how much, in the front end's own unit, it lets a frame lie below the loudest of what it is given
    at once; None where it looks at nothing but the samples of a frame.

    `rows`: one row per `window` or per `clip`; `pooling` makes the latter of the windows: their
    `mean`, or `mean_deviation`, twice as wide.
    """

    front_end: str
    front_end_sha256: str = ""
    weights: str
    sha256: str = ""
    dynamic_range: float | None = Field(default=80.0, gt=0)
    scale: float = 0.1
    offset: float = 2.0
    frames: int = Field(default=76, ge=1)
    hop: int = Field(default=8, ge=1)
    rows: Literal["clip", "window"] = "clip"
    pooling: Literal["mean", "mean_deviation"] = "mean_deviation"

    @model_validator(mode="after")
    def _pooling_makes_a_clip(self) -> Self:
        if self.rows == "window" and self.pooling != "mean_deviation":
            raise ValueError("pooling says nothing with rows: window")
        return self


class Encoder(Network[Sound]):
    """Waveforms in; rows out, each at the middle of what it speaks of.

    Windows lie in the clip whole; what is left behind the last one, less than a hop and a frame, is
    not heard.
    A sound shorter than a window is heard once, in the middle of a window of silence (measured on
    0.4 s of RAVDESS, correlation of the embedding with that of the full window: .80; .04 with the
    silence behind it, .11 with the sound repeated); its deviation is 0. Silence and sound below
    0.1 s has no row.

    Raises:
        MissingFileError: a file is absent, is another one, or is no ONNX file.
        ParamsError: the files do not fit each other, the options or a sound cut into parts.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        path = verified(
            options.front_end, options.front_end_sha256, REMEDY.format(option="front_end")
        )
        self._path = verified(options.weights, options.sha256, REMEDY.format(option="weights"))
        self._graph = onnx_model.read(self._path)
        self._graph.takes_one_at_a_time()
        self._output = self._graph.output()
        self._sides, bands = self._window()
        self._front_end = FrontEnd(path, bands, options.dynamic_range)
        self._samples = self._front_end.samples(options.frames)
        self._dim = self._numbers()
        deviation = options.rows == "clip" and options.pooling == "mean_deviation"
        self.dim = 2 * self._dim if deviation else self._dim
        self.provenance: Mapping[str, Any] = {
            "front_end": options.front_end_sha256,
            "weights": options.sha256,
            "samples_per_frame": self._front_end.field,
            "samples_to_the_next": self._front_end.hop,
            "onnxruntime": onnxruntime.__version__,
        }

    def pieces(self, clip: Sound) -> Sequence[Piece]:
        """One piece per window; a sound shorter than one is put in the middle of silence.

        Asks the front end, from whatever thread: sessions of onnxruntime bear that.
        """
        samples = clip.samples
        if not len(spoken(samples, None)[0]):
            return []
        if (lacking := self._samples - len(samples)) > 0:
            samples = np.pad(samples, (lacking // 2, lacking - lacking // 2))
        frames = self._front_end(samples)
        numbers = frames * np.float32(self._options.scale) + np.float32(self._options.offset)
        last = len(numbers) - self._options.frames
        return [
            Piece({"frames": numbers[first : first + self._options.frames]})
            for first in range(0, last + 1, self._options.hop)
        ]

    def forward(self, batch: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Windows (pieces, frames, bands) in, what the network says of them (pieces, dim) out."""
        numbers = batch["frames"].reshape(-1, *self._sides)
        given = self._graph.ask(self._output.name, numbers)
        return given.reshape(len(numbers), self._dim)

    def join(self, clip: Sound, results: Sequence[NDArray[Any]]) -> Features:
        """Pool the windows of a clip, or give each its time."""
        if not results:
            return self.no_features()
        rows = np.stack(results)
        if self._options.rows == "window":
            shift = self._options.hop * self._front_end.hop
            first = min(len(clip.samples), self._samples) / 2
            times = (np.arange(len(rows)) * shift + first) / SAMPLES_PER_SECOND
            return self.features(rows, times)
        parts = [rows.mean(axis=0, dtype="float64")]
        if self._options.pooling == "mean_deviation":
            parts.append(rows.std(axis=0, dtype="float64"))
        middle = len(clip.samples) / 2 / SAMPLES_PER_SECOND
        return self.features(np.concatenate(parts)[None], np.array([middle]))

    def _window(self) -> tuple[Sequence[int], int]:
        """Sides of a window as the network takes it, and the bands of a frame."""
        taken = self._graph.input().sides
        sides = taken[1:]
        axes = [axis for axis, side in enumerate(sides) if side != 1]
        frames, bands = (sides[axis] for axis in axes) if len(axes) == 2 else (None, None)
        if not bands:
            raise ParamsError(
                f"{self._path} takes {taken}: a batch of windows, (frames, bands), of "
                "known bands is needed"
            )
        if frames not in (None, self._options.frames):
            raise ParamsError(
                f"{self._path} takes windows of {frames} frames of {bands} bands, not of frames: "
                f"{self._options.frames}"
            )
        return [side or self._options.frames for side in sides], bands

    def _numbers(self) -> int:
        """How many numbers the network gives for a window."""
        sides = self._output.sides[1:]
        if None in sides or sum(side != 1 for side in sides) > 1:
            raise ParamsError(
                f"{self._path} gives {self._output.sides}: one row for a window, of a width that "
                "the file says, is needed"
            )
        return math.prod(side or 1 for side in sides)
