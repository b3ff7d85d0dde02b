"""Any network for pictures in an ONNX file: of expressions, of faces, of scenes.

Exporters write down neither how a picture is prepared nor what an output means: the options say it,
and they are those of whoever trained the network. Expressions after Arriaga et al. 2017
(`fer2013_mini_xception.onnx` of github.com/oarriaga/face_classification, re-saved):

    {member: onnx, weights: ..., sha256: ..., colour: grey, mean: [0.5], std: [0.5],
     trim: 0.14, output: embedding}

Measured on it with onnxruntime 1.31 on the CPU: the numbers of a picture are the same to the bit in
any place and company of a batch, in batches of 1 and 16, with 1, 2 and 4 threads. `trim` matters:
of three clips of RAVDESS, cropped with a margin of 0.2, the surprised one is "angry" (.48, surprise
.10) without it and turns from "neutral" to "surprise" (.30 on average) with it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from pydantic import Field

from ecmf.config import Section
from ecmf.encoding.network import Network, Piece
from ecmf.errors import ParamsError
from ecmf.media import RGB, Features, Pictures
from ecmf.pretrained import onnx_model
from ecmf.storage.files import verified

CHANNELS = {"rgb": 3, "bgr": 3, "grey": 1}

REMEDY = "put an ONNX file there, or name another one in `weights`"


class Options(Section):
    """Which file, and how it wants its pictures.

    `trim` is the share of a picture cut off on each side first: of a face crop with a margin of
    0.2, 0.14 leaves the detector's box. What is left is brought to the size of the input whatever
    its proportions; `edge` says that size, in pixels, where the file leaves it open. By `area`,
    every pixel of a larger picture counts, and a smaller one is interpolated; `linear` looks at the
    four nearest only.

    A number of the network's input is `(pixel * scale - mean) / std`, `pixel` being 0 to 255, with
    one mean and deviation for all channels or one for each, in the order of `colour`; grey is
    0.299 R + 0.587 G + 0.114 B.

    `output` is the name of what becomes a row, where there are several. Where it has places, as in
    (N, channels, height, width) or, as its last axis, (N, tokens, channels), `pooling: mean` takes
    the mean over them.
    """

    weights: str
    sha256: str = ""
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    trim: float = Field(default=0.0, ge=0, lt=0.5)
    edge: int | None = Field(default=None, ge=8)
    interpolation: Literal["area", "linear"] = "area"
    colour: Literal["rgb", "bgr", "grey"] = "rgb"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    output: str = ""
    pooling: Literal["none", "mean"] = "none"


class Encoder(Network[Pictures]):
    """Pictures in, one row for each with its time out.

    Raises:
        MissingFileError: the file is absent, is another one, or is no ONNX file.
        ParamsError: the network takes something else than such pictures, or gives no such rows.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._path: Path = verified(options.weights, options.sha256, REMEDY)
        self._graph = onnx_model.read(self._path)
        self._graph.takes_one_at_a_time()
        self._channels = CHANNELS[options.colour]
        for name in ("mean", "std"):
            if len(getattr(options, name)) not in (1, self._channels):
                raise ParamsError(
                    f"{name} has {len(getattr(options, name))} numbers, {options.colour} pictures "
                    f"have {self._channels} channels"
                )
        if 0 in options.std:
            raise ParamsError("std holds a 0, by which nothing can be divided")
        self._height, self._width = self._sides()
        self._output = self._graph.output(options.output)
        self.dim = self._dim()
        self.provenance: Mapping[str, Any] = {
            "file": self._path.name,
            "weights": options.sha256,
            "output": self._output.name,
            "onnxruntime": onnxruntime.__version__,
            "opencv": cv2.__version__,
        }

    def pieces(self, clip: Pictures) -> Sequence[Piece]:
        """Every picture in the size and colours of the input, (height, width, channels), uint8."""
        return [Piece({"pixels": self._pixels(image)}) for image in clip.images]

    def forward(self, batch: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Pixels (pictures, height, width, channels) in, rows (pictures, dim) out."""
        return self._pooled(self._given(batch["pixels"]))

    def join(self, clip: Pictures, results: Sequence[NDArray[Any]]) -> Features:
        """One row per picture, with the picture's time."""
        return self.features(np.stack(results), clip.times) if results else self.no_features()

    def _sides(self) -> tuple[int, int]:
        """Height and width of the input; raises ParamsError if options and file disagree."""
        found = self._graph.input()
        if len(found.sides) != 4:
            raise ParamsError(f"{self._path} takes {found.sides}, which is no batch of pictures")
        channels, *sides = found.sides[1:]
        if self._options.layout == "NHWC":
            *sides, channels = found.sides[1:]
        edge = self._options.edge
        if channels not in (None, self._channels):
            raise ParamsError(
                f"{self._path} takes {found.sides}, that is {channels} channels in the layout "
                f"{self._options.layout}; colour: {self._options.colour} has {self._channels}"
            )
        if edge and any(side not in (None, edge) for side in sides):
            raise ParamsError(f"{self._path} takes {found.sides}: edge {edge} does not fit")
        height, width = (side or edge for side in sides)
        if not height or not width:
            raise ParamsError(f"{self._path} leaves the size of pictures open: set edge")
        return height, width

    def _dim(self) -> int:
        """Width of a row; a file that leaves a length open is asked for a black picture."""
        sides: Sequence[int | None] = self._output.sides
        if None in sides[1:] or not sides or None in self._graph.input().sides[1:]:
            black = np.zeros((1, self._height, self._width, self._channels), np.uint8)
            try:
                sides = self._given(black).shape
            except onnx_model.REFUSALS as error:
                raise ParamsError(
                    f"{self._path} takes no picture of {self._height} x {self._width}: {error}"
                ) from error
        if len(sides) < 2:
            raise ParamsError(f"output {self._output.name!r} is {sides}: no row for a picture")
        places = len([side for side in sides[1:] if side != 1])
        if places > 1 and self._options.pooling == "none":
            raise ParamsError(
                f"output {self._output.name!r} is {sides[1:]} for a picture: with pooling: mean "
                "the mean over its places becomes a row"
            )
        blank = np.zeros([1, *(side or 1 for side in sides[1:])], np.float32)
        return int(self._pooled(blank).shape[1])

    def _given(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Ask the network for pictures; (pictures, ...) as it gives it."""
        options = self._options
        mean, std = (np.array(values, np.float32) for values in (options.mean, options.std))
        numbers = (pixels.astype(np.float32) * np.float32(options.scale) - mean) / std
        if options.layout == "NCHW":
            numbers = np.ascontiguousarray(numbers.transpose(0, 3, 1, 2))
        return self._graph.ask(self._output.name, numbers)

    def _pooled(self, given: NDArray[Any]) -> NDArray[np.float32]:
        if self._options.pooling == "mean" and given.ndim > 2:
            first = self._options.layout == "NCHW" and given.ndim == 4
            given = given.mean(axis=(2, 3) if first else tuple(range(1, given.ndim - 1)))
        return given.reshape(len(given), -1).astype(np.float32)

    def _pixels(self, image: RGB) -> NDArray[np.uint8]:
        down, right = (int(self._options.trim * pixels) for pixels in image.shape[:2])
        inner: NDArray[Any] = image[down : image.shape[0] - down, right : image.shape[1] - right]
        if self._options.colour != "rgb":
            grey = self._options.colour == "grey"
            inner = cv2.cvtColor(inner, cv2.COLOR_RGB2GRAY if grey else cv2.COLOR_RGB2BGR)
        smaller = self._height <= inner.shape[0] and self._width <= inner.shape[1]
        by_area = self._options.interpolation == "area" and smaller
        resized = cv2.resize(
            inner,
            (self._width, self._height),
            interpolation=cv2.INTER_AREA if by_area else cv2.INTER_LINEAR,
        )
        return np.asarray(resized, np.uint8).reshape(self._height, self._width, -1)
