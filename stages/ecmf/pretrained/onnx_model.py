"""Inspect and run ONNX files, and find them in insightface model packs."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx.external_data_helper import uses_external_data
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

from ecmf.errors import MissingFileError, ParamsError
from ecmf.execution import device
from ecmf.registry import did_you_mean

PACKS = Path("~/.insightface/models")
"""Folder of the insightface package with its model packs, one folder each."""

PACK_REMEDY = (
    "unpack a model pack of github.com/deepinsight/insightface there (its weights are for "
    "non-commercial research only), or name another folder in {option}"
)

INPUT_ERRORS = (Fail, InvalidArgument, RuntimeException)
"""Errors of onnxruntime for an input that does not fit a network."""

Shape = tuple[int | None, ...]
"""Lengths of the axes of a tensor; None for an axis of any length."""


@dataclass(frozen=True)
class TensorInfo:
    """Name, shape and dtype, e.g. "float32", of an input or output of a network."""

    name: str
    shape: Shape
    dtype: str


@dataclass(frozen=True)
class OnnxModel:
    """The network of an ONNX file; its session is opened on first use."""

    path: Path
    inputs: Sequence[TensorInfo]
    outputs: Sequence[TensorInfo]
    first_nodes: Sequence[str]
    """Names of the first 8 nodes."""

    def input(self) -> TensorInfo:
        """Return the only input; raises ParamsError unless there is one, of float32."""
        if len(self.inputs) != 1 or self.inputs[0].dtype != "float32":
            raise ParamsError(
                f"{self.path} takes {_describe(self.inputs)}: a network with one float32 input "
                "is required"
            )
        return self.inputs[0]

    def output(self, name: str = "") -> TensorInfo:
        """Return the output `name`, or the only output; raises ParamsError listing all."""
        matching = [tensor for tensor in self.outputs if name in ("", tensor.name)]
        if len(matching) != 1:
            hint = did_you_mean(name, [tensor.name for tensor in self.outputs]) if name else ""
            raise ParamsError(
                f"{self.path} returns {_describe(self.outputs)}: "
                + (f"there is no output {name!r}.{hint}" if name else "choose one as `output`")
            )
        return matching[0]

    def has_batch_size_one(self) -> bool:
        """Return whether the file fixes a batch size of 1; raises ParamsError for another size.

        Only the input's first axis is read: exporters often leave a 1 in the outputs.
        """
        batch_size = self.input().shape[0] if self.input().shape else 0
        if batch_size not in (None, 1):
            raise ParamsError(
                f"{self.path} takes {_describe(self.inputs)}, a fixed batch size of {batch_size}: "
                "export it with a batch of any length, or of 1"
            )
        return batch_size == 1

    @functools.cached_property
    def session(self) -> Any:
        """Session of onnxruntime on the requested device."""
        return device.onnx_session(self.path)

    def run(self, output: str, batch: NDArray[np.float32]) -> NDArray[Any]:
        """Compute an output of a batch, (batch, ...), one by one if the batch size is 1.

        Raises:
            ParamsError: the output has another batch size than the input.
        """
        parts = np.split(batch, len(batch)) if self.has_batch_size_one() else [batch]
        name = self.input().name
        results = np.concatenate([self.session.run([output], {name: part})[0] for part in parts])
        if len(results) != len(batch):
            raise ParamsError(
                f"{self.path} returned {results.shape} for a batch of {len(batch)}: export it with "
                "a batch of any length, or of 1"
            )
        return results


def read_model(path: Path) -> OnnxModel:
    """Read the inputs and outputs of a file's network, without running it.

    Raises:
        MissingFileError: it is not an ONNX file, or its weights are in other files, which its hash
            does not cover.
    """
    graph = read_proto(path).graph
    weights = {tensor.name for tensor in graph.initializer}  # old files list them as inputs too
    return OnnxModel(
        path,
        [_tensor_info(value) for value in graph.input if value.name not in weights],
        [_tensor_info(value) for value in graph.output],
        [node.name for node in graph.node[:8]],
    )


def read_proto(path: Path) -> onnx.ModelProto:
    """Read a file's network as it stands in the file.

    Raises:
        MissingFileError: as `read_model`. A name of another file could lead anywhere on this
            machine, and may stand in any part of the network, e.g. in the branch of an `If`.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, IsADirectoryError) as error:
        raise MissingFileError(f"{path} is not an ONNX file: {error}") from error
    if any(uses_external_data(tensor) for tensor in _tensors(model)):
        raise MissingFileError(
            f"{path} stores its weights in other files: save it as one file (`onnx.save` without "
            "save_as_external_data)"
        )
    return model


def _tensors(message: Any) -> Iterator[onnx.TensorProto]:
    """Yield every tensor in a message of protobuf, at any depth."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                yield from _tensors(part)


def find_in_pack(model: str, task: str, option: str, fits: Callable[[OnnxModel], bool]) -> Path:
    """Find the file for a task in a folder, or in a model pack of insightface.

    Args:
        model: A folder of ONNX files, the name of a pack, or one ONNX file, which is returned.
        task: Name of the network in errors, e.g. "face detector".
        option: Name of the option `model` in errors.
        fits: Return whether a file is a network for the task.

    Raises:
        MissingFileError: there is no such pack, or it does not have exactly one such file.
    """
    folder = Path(model)
    if folder.suffix == ".onnx":
        return folder
    remedy = PACK_REMEDY.format(option=option)
    if not folder.is_dir():
        folder = PACKS.expanduser() / model
    if not folder.is_dir():
        raise MissingFileError(
            f"no model pack {model!r}: there is no folder {model} or {PACKS / model}: {remedy}"
        )
    fitting = [file for file in sorted(folder.glob("*.onnx")) if fits(read_model(file))]
    if len(fitting) != 1:
        names = ", ".join(file.name for file in fitting) or "none"
        raise MissingFileError(
            f"{folder} should have one ONNX file of a {task}, but has {names}: name the file in "
            f"{option}"
        )
    return fitting[0]


def _tensor_info(value: onnx.ValueInfoProto) -> TensorInfo:
    tensor = value.type.tensor_type
    shape = (axis.dim_value if axis.dim_value > 0 else None for axis in tensor.shape.dim)
    dtype = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    return TensorInfo(value.name, tuple(shape), "float32" if dtype == "float" else dtype)


def _describe(tensors: Sequence[TensorInfo]) -> str:
    return ", ".join(
        f"{tensor.name!r} ({' x '.join(str(n or 'any') for n in tensor.shape)} {tensor.dtype})"
        for tensor in tensors
    )
