"""ONNX files: what their networks take and give, known before they are run; the one of a pack."""

import functools
from collections.abc import Callable, Sequence
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
from ecmf.registry import hint

PACKS = Path("~/.insightface/models")
"""Where the insightface package keeps its model packs, one folder each."""

PACK_REMEDY = (
    "unpack a model pack of github.com/deepinsight/insightface there (its weights are for "
    "non-commercial research only), or name another folder in {option}"
)

REFUSALS = (Fail, InvalidArgument, RuntimeException)
"""What onnxruntime raises where an input does not fit a network."""

Sides = tuple[int | None, ...]
"""The lengths of the axes of an array; None for one the file leaves open."""


@dataclass(frozen=True)
class Array:
    """What a network takes or gives; `kind` is the type of its numbers, e.g. "float32"."""

    name: str
    sides: Sides
    kind: str


@dataclass(frozen=True)
class Graph:
    """A file's network: its arrays, the names of its first steps; opened when it is first asked."""

    path: Path
    inputs: Sequence[Array]
    outputs: Sequence[Array]
    beginning: Sequence[str]

    def input(self) -> Array:
        """Return the only input; raises ParamsError unless there is one, of float32."""
        if len(self.inputs) != 1 or self.inputs[0].kind != "float32":
            raise ParamsError(
                f"{self.path} takes {_listed(self.inputs)}: a network with one input, of float32, "
                "is needed"
            )
        return self.inputs[0]

    def output(self, name: str = "") -> Array:
        """Return the output of that name, or the only one; raises ParamsError listing them."""
        found = [array for array in self.outputs if name in ("", array.name)]
        if len(found) != 1:
            guess = hint(name, [array.name for array in self.outputs]) if name else ""
            raise ParamsError(
                f"{self.path} gives {_listed(self.outputs)}: "
                + (f"there is no output {name!r}.{guess}" if name else "choose one as `output`")
            )
        return found[0]

    def takes_one_at_a_time(self) -> bool:
        """Tell whether its batches are of 1; raises ParamsError if the file fixes another number.

        The first axis of the input alone says it: exporters leave a 1 in outputs of any length.
        """
        count = self.input().sides[0] if self.input().sides else 0
        if count not in (None, 1):
            raise ParamsError(
                f"{self.path} takes {_listed(self.inputs)}, always {count} at once: export it "
                "with a batch of any length, or of 1"
            )
        return count == 1

    @functools.cached_property
    def session(self) -> Any:
        """The network, on the requested device."""
        return device.onnx_session(self.path)

    def ask(self, output: str, numbers: NDArray[np.float32]) -> NDArray[Any]:
        """Return what the network says of a batch, (batch, ...), one by one where it must be.

        Raises:
            ParamsError: it does not say one thing of each.
        """
        parts = np.split(numbers, len(numbers)) if self.takes_one_at_a_time() else [numbers]
        name = self.input().name
        given = np.concatenate([self.session.run([output], {name: part})[0] for part in parts])
        if len(given) != len(numbers):
            raise ParamsError(
                f"{self.path} gave {given.shape} for a batch of {len(numbers)}: export it with a "
                "batch of any length, or of 1"
            )
        return given


def read(path: Path) -> Graph:
    """Read what the network of a file takes and gives, without running it.

    Raises:
        MissingFileError: it is no ONNX file, or keeps its weights in other files, which its hash
            would not cover.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, IsADirectoryError) as error:
        raise MissingFileError(f"{path} is no ONNX file: {error}") from error
    graph = model.graph
    constants = (item.t for node in graph.node for item in node.attribute)
    if any(uses_external_data(tensor) for tensor in (*graph.initializer, *constants)):
        raise MissingFileError(
            f"{path} keeps its weights in other files: save it as one file (`onnx.save` without "
            "save_as_external_data)"
        )
    weights = {tensor.name for tensor in graph.initializer}  # old files list them as inputs too
    return Graph(
        path,
        [_array(value) for value in graph.input if value.name not in weights],
        [_array(value) for value in graph.output],
        [node.name for node in graph.node[:8]],
    )


def in_pack(model: str, what: str, option: str, fits: Callable[[Graph], bool]) -> Path:
    """Find the one file that `fits` among those of a folder, or of a pack of insightface.

    Args:
        model: A folder of ONNX files, the name of a pack, or one ONNX file, which is returned.
        what: What is looked for, as errors call it.
        option: The parameter that gave `model`, as errors call it.
        fits: Tells such a file from the others.

    Raises:
        MissingFileError: there is no such pack, or not exactly one such file in it.
    """
    place = Path(model)
    if place.suffix == ".onnx":
        return place
    remedy = PACK_REMEDY.format(option=option)
    if not place.is_dir():
        place = PACKS.expanduser() / model
    if not place.is_dir():
        raise MissingFileError(
            f"no model pack {model!r}: neither a folder of that name, nor {PACKS / model}: {remedy}"
        )
    found = [file for file in sorted(place.glob("*.onnx")) if fits(read(file))]
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise MissingFileError(
            f"{place} should hold one {what} as ONNX file, but holds {names}: name the file itself "
            f"in {option}"
        )
    return found[0]


def _array(value: onnx.ValueInfoProto) -> Array:
    tensor = value.type.tensor_type
    sides = (side.dim_value if side.dim_value > 0 else None for side in tensor.shape.dim)
    kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    return Array(value.name, tuple(sides), "float32" if kind == "float" else kind)


def _listed(arrays: Sequence[Array]) -> str:
    return ", ".join(
        f"{array.name!r} ({' x '.join(str(side or 'any') for side in array.sides)} {array.kind})"
        for array in arrays
    )
