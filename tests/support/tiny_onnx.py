"""Tiny networks with random weights, saved as ONNX files as exporters write them."""

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
"""Bands of a frame of the tiny front end; frames per window of the network after it."""

FRAME_LENGTH, HOP_LENGTH = 400, 160
"""Samples per frame, and from one frame to the next."""

DYNAMIC_RANGE = 60.0


def image_network(
    path: Path,
    *,
    channels: int = 3,
    image_size: Side = 16,
    batch: Side = "batch",
    layout: str = "NCHW",
    padding: int = 1,
) -> dict[str, Any]:
    """Write a network of images with outputs `map`, (4, 8, 8) per image, and `row`, (6,)."""
    rng = np.random.default_rng(0)
    size = [image_size, image_size]
    sides = [batch, channels, *size] if layout == "NCHW" else [batch, *size, channels]
    first, last = ("input", "map") if layout == "NCHW" else ("planes", "planes_map")
    pads = [padding] * 4
    nodes = [
        helper.make_node("Conv", [first, "kernel"], ["edges"], strides=[2, 2], pads=pads),
        helper.make_node("Relu", ["edges"], [last]),
        helper.make_node("GlobalAveragePool", [last], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["row"]),
    ]
    map_size: list[Side] = ["height", "width"] if image_size is None else [8, 8]
    if layout == "NHWC":
        nodes.insert(0, helper.make_node("Transpose", ["input"], ["planes"], perm=[0, 3, 1, 2]))
        nodes.append(helper.make_node("Transpose", [last], ["map"], perm=[0, 2, 3, 1]))
    outputs = {"map": [batch, 4, *map_size] if layout == "NCHW" else [batch, *map_size, 4]}
    weights = {
        "kernel": rng.normal(size=(4, channels, 3, 3)),
        "weights": rng.normal(size=(4, 6)),
    }
    write(path, nodes, {"input": sides}, {"row": [batch, 6], **outputs}, weights)
    return {"weights": str(path), "sha256": sha256(path), "layout": layout}


def expressions(folder: Path) -> dict[str, Any]:
    """Write a network into `folder` and return its options."""
    return {**image_network(folder / "expressions.onnx"), "output": "row"}


def face_network(
    path: Path, *, image_size: int = 112, takes_raw_pixels: bool = False
) -> dict[str, Any]:
    """Write a network from (3, size, size) to 9 numbers; raw pixels are 0 to 255."""
    rng = np.random.default_rng(1)
    node = helper.make_node
    nodes = [
        node("AveragePool", ["scaled"], ["cells"], kernel_shape=[14, 14], strides=[14, 14]),
        node("Flatten", ["cells"], ["flat"]),
        node("MatMul", ["flat", "weights"], ["683"]),
    ]
    nodes[:0] = [
        node("Sub", ["input.1", "mean"], ["centred"], name="Sub_0" if takes_raw_pixels else "no_0"),
        node("Mul", ["centred", "scale"], ["scaled"], name="Mul_1" if takes_raw_pixels else "no_1"),
    ]
    weights = {
        "weights": rng.normal(size=(3 * (image_size // 14) ** 2, 9)),
        "mean": np.array(127.5 if takes_raw_pixels else 0.0),
        "scale": np.array(1 / 128 if takes_raw_pixels else 1.0),
    }
    sides: dict[str, Sequence[Side]] = {"input.1": ["None", 3, image_size, image_size]}
    write(path, nodes, sides, {"683": [1, 9]}, weights)
    return {"model": str(path), "sha256": sha256(path)}


def model_pack(folder: Path) -> dict[str, Any]:
    """Write a recognition network and two networks of other kinds; return the pack's options."""
    image_network(folder / "places.onnx", image_size=112)
    face_network(folder / "age.onnx", image_size=98)
    return {**face_network(folder / "recogniser.onnx"), "model": str(folder)}


def front_end(
    path: Path, *, has_floor: bool = True, subtracts_mean: bool = False, pads: bool = False
) -> Path:
    """Write a front end from samples to the power of 8 filters in dB.

    By default it has a floor below the maximum of its input, like real ones. Or it subtracts the
    mean over its input, or pads its input on both sides.
    """
    rng = np.random.default_rng(2)
    node = helper.make_node
    padding = [FRAME_LENGTH // 2] * 2 if pads else [0, 0]
    nodes = [
        node("Unsqueeze", ["input", "one"], ["row"]),
        node("Conv", ["row", "filters"], ["filtered"], strides=[HOP_LENGTH], pads=padding),
        node("Mul", ["filtered", "filtered"], ["power"]),
        node("Max", ["power", "epsilon"], ["positive"]),
        node("Log", ["positive"], ["natural"]),
        node("Mul", ["natural", "decibels"], ["levels"]),
        node("ReduceMax", ["levels"], ["maximum"], keepdims=0),
        node("Sub", ["maximum", "range"], ["floor"]),
        node("Max", ["levels", "floor"], ["floored"]),
        node("ReduceMean", ["levels"], ["mean"], keepdims=0),
        node("Sub", ["levels", "mean"], ["centred"]),
    ]
    result = "centred" if subtracts_mean else "floored" if has_floor else "levels"
    nodes += [
        node("Transpose", [result], ["frames"], perm=[0, 2, 1]),
        node("Unsqueeze", ["frames", "one"], ["output"]),
    ]
    weights = {
        "one": np.array([1], "int64"),
        "filters": rng.normal(size=(BANDS, 1, FRAME_LENGTH)) / FRAME_LENGTH**0.5,
        "epsilon": np.array(1e-10),
        "decibels": np.array(10 / np.log(10)),
        "range": np.array(DYNAMIC_RANGE),
    }
    sides: dict[str, Sequence[Side]] = {"input": ["batch", "samples"]}
    write(path, nodes, sides, {"output": ["batch", 1, "time", BANDS]}, weights)
    return path


def window_network(path: Path, *, batch: Side = "batch") -> Path:
    """Write a network from windows of frames to 5 numbers each."""
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
    """Write a front end and a network into `folder` and return their options."""
    first, second = front_end(folder / "front_end.onnx"), window_network(folder / "windows.onnx")
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
    """Write a graph; floats become float32."""
    arrays = {
        name: array.astype("float32") if array.dtype.kind == "f" else array
        for name, array in weights.items()
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
