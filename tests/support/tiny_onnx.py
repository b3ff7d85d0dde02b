"""Networks of a few random weights, saved as ONNX files as exporters write them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ecmf.storage.files import sha256

Side = int | str | None

BANDS, FRAMES = 8, 12
"""Of the tiny front end, and of a window of the network behind it."""

FIELD, HOP = 400, 160
"""Samples of a frame, and from one to the next."""

DYNAMIC_RANGE = 60.0


def pictures(
    path: Path,
    *,
    channels: int = 3,
    edge: Side = 16,
    batch: Side = "batch",
    layout: str = "NCHW",
    padding: int = 1,
) -> dict[str, Any]:
    """A network of pictures: `map`, 4 numbers for each of 8 x 8 places, and `row`, 6 numbers."""
    rng = np.random.default_rng(0)
    sides = [batch, channels, edge, edge] if layout == "NCHW" else [batch, edge, edge, channels]
    first, last = ("input", "map") if layout == "NCHW" else ("planes", "planes_map")
    pads = [padding] * 4
    nodes = [
        helper.make_node("Conv", [first, "kernel"], ["edges"], strides=[2, 2], pads=pads),
        helper.make_node("Relu", ["edges"], [last]),
        helper.make_node("GlobalAveragePool", [last], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["row"]),
    ]
    places: list[Side] = ["height", "width"] if edge is None else [8, 8]
    if layout == "NHWC":
        nodes.insert(0, helper.make_node("Transpose", ["input"], ["planes"], perm=[0, 3, 1, 2]))
        nodes.append(helper.make_node("Transpose", [last], ["map"], perm=[0, 2, 3, 1]))
    outputs = {"map": [batch, 4, *places] if layout == "NCHW" else [batch, *places, 4]}
    weights = {
        "kernel": rng.normal(size=(4, channels, 3, 3)),
        "weights": rng.normal(size=(4, 6)),
    }
    write(path, nodes, {"input": sides}, {"row": [batch, 6], **outputs}, weights)
    return {"weights": str(path), "sha256": sha256(path), "layout": layout}


def expressions(folder: Path) -> dict[str, Any]:
    """Options of a network made in `folder`."""
    return {**pictures(folder / "expressions.onnx"), "output": "row"}


def recogniser(path: Path, *, edge: int = 112, own_scale: bool = False) -> dict[str, Any]:
    """A network of faces: 3 x edge x edge -> 9 numbers; with `own_scale` it takes 0 to 255."""
    rng = np.random.default_rng(1)
    node = helper.make_node
    nodes = [
        node("AveragePool", ["scaled"], ["cells"], kernel_shape=[14, 14], strides=[14, 14]),
        node("Flatten", ["cells"], ["flat"]),
        node("MatMul", ["flat", "weights"], ["683"]),
    ]
    nodes[:0] = [
        node("Sub", ["input.1", "middle"], ["moved"], name="Sub_0" if own_scale else "no_0"),
        node("Mul", ["moved", "share"], ["scaled"], name="Mul_1" if own_scale else "no_1"),
    ]
    weights = {
        "weights": rng.normal(size=(3 * (edge // 14) ** 2, 9)),
        "middle": np.array(127.5 if own_scale else 0.0),
        "share": np.array(1 / 128 if own_scale else 1.0),
    }
    sides: dict[str, Sequence[Side]] = {"input.1": ["None", 3, edge, edge]}
    write(path, nodes, sides, {"683": [1, 9]}, weights)
    return {"model": str(path), "sha256": sha256(path)}


def pack(folder: Path) -> dict[str, Any]:
    """Options of a pack in `folder`: a recognition network, and two of other kinds."""
    pictures(folder / "places.onnx", edge=112)
    recogniser(folder / "age.onnx", edge=98)
    return {**recogniser(folder / "recogniser.onnx"), "model": str(folder)}


def front_end(
    path: Path, *, floored: bool = True, levelled: bool = False, centred: bool = False
) -> Path:
    """Samples -> the power of 8 filters in dB; like a real one `floored` below the loudest.

    Or `levelled`: less its mean over all it is given; or `centred`: padded on both sides.
    """
    rng = np.random.default_rng(2)
    node = helper.make_node
    pads = [FIELD // 2] * 2 if centred else [0, 0]
    nodes = [
        node("Unsqueeze", ["input", "one"], ["row"]),
        node("Conv", ["row", "filters"], ["filtered"], strides=[HOP], pads=pads),
        node("Mul", ["filtered", "filtered"], ["power"]),
        node("Max", ["power", "least"], ["some"]),
        node("Log", ["some"], ["natural"]),
        node("Mul", ["natural", "decibels"], ["levels"]),
        node("ReduceMax", ["levels"], ["loudest"], keepdims=0),
        node("Sub", ["loudest", "range"], ["floor"]),
        node("Max", ["levels", "floor"], ["floored"]),
        node("ReduceMean", ["levels"], ["mean"], keepdims=0),
        node("Sub", ["levels", "mean"], ["levelled"]),
    ]
    chosen = "levelled" if levelled else "floored" if floored else "levels"
    nodes += [
        node("Transpose", [chosen], ["frames"], perm=[0, 2, 1]),
        node("Unsqueeze", ["frames", "one"], ["output"]),
    ]
    weights = {
        "one": np.array([1], "int64"),
        "filters": rng.normal(size=(BANDS, 1, FIELD)) / FIELD**0.5,
        "least": np.array(1e-10),
        "decibels": np.array(10 / np.log(10)),
        "range": np.array(DYNAMIC_RANGE),
    }
    sides: dict[str, Sequence[Side]] = {"input": ["batch", "samples"]}
    write(path, nodes, sides, {"output": ["batch", 1, "time", BANDS]}, weights)
    return path


def windows(path: Path, *, batch: Side = "batch") -> Path:
    """Windows of frames -> 5 numbers each."""
    rng = np.random.default_rng(3)
    nodes = [
        helper.make_node("Flatten", ["input"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["product"]),
        helper.make_node("Tanh", ["product"], ["bounded"]),
        helper.make_node("Reshape", ["bounded", "shape"], ["output"]),
    ]
    weights = {
        "weights": rng.normal(size=(FRAMES * BANDS, 5)) / (FRAMES * BANDS),
        "shape": np.array([-1, 1, 1, 5], "int64"),
    }
    write(path, nodes, {"input": [batch, FRAMES, BANDS, 1]}, {"output": [batch, 1, 1, 5]}, weights)
    return path


def speech(folder: Path, **changes: Any) -> dict[str, Any]:
    """Options of a front end and a network made in `folder`."""
    first, second = front_end(folder / "front_end.onnx"), windows(folder / "windows.onnx")
    return {
        "front_end": str(first),
        "front_end_sha256": sha256(first),
        "weights": str(second),
        "sha256": sha256(second),
        "dynamic_range": DYNAMIC_RANGE,
        "frames": FRAMES,
        "hop": 3,
        **changes,
    }


def write(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, Sequence[Side]],
    outputs: dict[str, Sequence[Side]],
    weights: dict[str, NDArray[Any]],
) -> None:
    """Save a graph; floats become float32."""
    made = {
        name: array.astype("float32") if array.dtype.kind == "f" else array
        for name, array in weights.items()
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in made.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
