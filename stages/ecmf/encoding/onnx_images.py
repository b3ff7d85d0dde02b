"""Encode images with a network in an ONNX file, by a description of its input and its output.

Encoders of images that run an ONNX file share it: `onnx` takes the description as its options,
`insightface` knows it.
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
from ecmf.encoding.network import Chunk, Network
from ecmf.errors import ParamsError
from ecmf.media import RGB, Features, Images
from ecmf.pretrained import onnx_model
from ecmf.storage.files import verify_sha256

CHANNELS = {"rgb": 3, "bgr": 3, "grey": 1}

REMEDY = "put an ONNX file there, or name another one in `weights`"


class OnnxImageOptions(Section):
    """File, preprocessing of its input and choice of its output.

    A trimmed image is resized whatever its proportions. An output with positions is (N, channels,
    height, width), (N, height, width, channels) with NHWC, or (N, tokens, channels).
    """

    weights: str = Field(description="The ONNX file.")
    sha256: str = Field(default="", description="SHA-256; leave it out once, the error names it.")
    layout: Literal["NCHW", "NHWC"] = Field(
        default="NCHW", description="Order of the input's axes."
    )
    trim: float = Field(
        default=0.0,
        ge=0,
        lt=0.5,
        description="Fraction cut off each side; 0.14 undoes a margin of 0.2.",
    )
    image_size: int | None = Field(
        default=None, ge=8, description="Side in pixels of the input; null: fixed by the file."
    )
    interpolation: Literal["area", "linear"] = Field(
        default="area",
        description="`area` averages a larger image's pixels; `linear` reads four of them.",
    )
    colour: Literal["rgb", "bgr", "grey"] = Field(
        default="rgb", description="Channels of the input; grey is 0.299 R + 0.587 G + 0.114 B."
    )
    scale: float = Field(
        default=1 / 255,
        description="The input is `(pixel * scale - mean) / std`, pixels are 0 to 255.",
    )
    mean: tuple[float, ...] = Field(
        default=(0.0,),
        description="One for all channels, or one per channel in the order of `colour`.",
    )
    std: tuple[float, ...] = Field(
        default=(1.0,),
        description="One for all channels, or one per channel in the order of `colour`.",
    )
    output: str = Field(default="", description="Name of the output, if there are several.")
    pooling: Literal["none", "mean"] = Field(
        default="none",
        description="`mean` over the positions of a map or the tokens of a sequence.",
    )


class OnnxImageEncoder(Network[Images]):
    """Encode each image as one row, with its time.

    Raises:
        MissingFileError: the file is absent, has another hash, or is no ONNX file.
        ParamsError: the network does not take such images, or does not return such rows.
    """

    def __init__(self, options: OnnxImageOptions) -> None:
        self._options = options
        self._path: Path = verify_sha256(options.weights, options.sha256, REMEDY)
        self._graph = onnx_model.read_model(self._path)
        self._graph.has_batch_size_one()
        self._channels = CHANNELS[options.colour]
        for name in ("mean", "std"):
            if len(getattr(options, name)) not in (1, self._channels):
                raise ParamsError(
                    f"{name} has {len(getattr(options, name))} numbers, {options.colour} images "
                    f"have {self._channels} channels"
                )
        if 0 in options.std:
            raise ParamsError("std holds a 0: division by zero")
        self._height, self._width = self._input_size()
        self._output = self._graph.output(options.output)
        self.dim = self._output_dim()
        self.provenance: Mapping[str, Any] = {
            "file": self._path.name,
            "weights": options.sha256,
            "output": self._output.name,
            "onnxruntime": onnxruntime.__version__,
            "opencv": cv2.__version__,
        }

    def split(self, clip: Images) -> Sequence[Chunk]:
        """Resize each image and convert its colours: (height, width, channels), uint8."""
        return [Chunk({"pixels": self._pixels(image)}) for image in clip.images]

    def forward(self, batch: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Compute rows (images, dim) from pixels (images, height, width, channels)."""
        return self._pool(self._run(batch["pixels"]))

    def merge(self, clip: Images, results: Sequence[NDArray[Any]]) -> Features:
        """Return one row per image, with the image's time."""
        return self.features(np.stack(results), clip.times) if results else self.empty_features()

    def _input_size(self) -> tuple[int, int]:
        """Return height and width of the input; raises ParamsError if the options do not fit."""
        shape = self._graph.input().shape
        if len(shape) != 4:
            raise ParamsError(f"{self._path} takes {shape}, which is no batch of images")
        channels, *sides = shape[1:]
        if self._options.layout == "NHWC":
            *sides, channels = shape[1:]
        size = self._options.image_size
        if channels not in (None, self._channels):
            raise ParamsError(
                f"{self._path} takes {shape}, that is {channels} channels in the layout "
                f"{self._options.layout}; colour: {self._options.colour} has {self._channels}"
            )
        if size and any(side not in (None, size) for side in sides):
            raise ParamsError(f"{self._path} takes {shape}: leave out image_size: {size}")
        height, width = (side or size for side in sides)
        if not height or not width:
            raise ParamsError(f"{self._path} takes images of any size: set image_size")
        return height, width

    def _output_dim(self) -> int:
        """Return the width of a row; run a black image if the file leaves a length open."""
        shape: Sequence[int | None] = self._output.shape
        if None in shape[1:] or not shape or None in self._graph.input().shape[1:]:
            black = np.zeros((1, self._height, self._width, self._channels), np.uint8)
            try:
                shape = self._run(black).shape
            except onnx_model.INPUT_ERRORS as error:
                raise ParamsError(
                    f"{self._path} takes no images of {self._height} x {self._width}: {error}"
                ) from error
        if len(shape) < 2:
            raise ParamsError(f"output {self._output.name!r} is {shape}, not one row per image")
        axes = len([side for side in shape[1:] if side != 1])
        if axes > 1 and self._options.pooling == "none":
            raise ParamsError(
                f"output {self._output.name!r} is {shape[1:]} per image: set pooling: mean to "
                "average it over its positions"
            )
        zeros = np.zeros([1, *(side or 1 for side in shape[1:])], np.float32)
        return int(self._pool(zeros).shape[1])

    def _run(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Compute the output, (images, ...), of images of the input's size and colours."""
        options = self._options
        mean, std = (np.array(values, np.float32) for values in (options.mean, options.std))
        numbers = (pixels.astype(np.float32) * np.float32(options.scale) - mean) / std
        if options.layout == "NCHW":
            numbers = np.ascontiguousarray(numbers.transpose(0, 3, 1, 2))
        return self._graph.run(self._output.name, numbers)

    def _pool(self, output: NDArray[Any]) -> NDArray[np.float32]:
        if self._options.pooling == "mean" and output.ndim > 2:
            channels_first = self._options.layout == "NCHW" and output.ndim == 4
            axes = (2, 3) if channels_first else tuple(range(1, output.ndim - 1))
            output = output.mean(axis=axes)
        return output.reshape(len(output), -1).astype(np.float32)

    def _pixels(self, image: RGB) -> NDArray[np.uint8]:
        top, left = (int(self._options.trim * side) for side in image.shape[:2])
        inner: NDArray[Any] = image[top : image.shape[0] - top, left : image.shape[1] - left]
        if self._options.colour != "rgb":
            grey = self._options.colour == "grey"
            inner = cv2.cvtColor(inner, cv2.COLOR_RGB2GRAY if grey else cv2.COLOR_RGB2BGR)
        shrinks = self._height <= inner.shape[0] and self._width <= inner.shape[1]
        by_area = self._options.interpolation == "area" and shrinks
        resized = cv2.resize(
            inner,
            (self._width, self._height),
            interpolation=cv2.INTER_AREA if by_area else cv2.INTER_LINEAR,
        )
        return np.asarray(resized, np.uint8).reshape(self._height, self._width, -1)
