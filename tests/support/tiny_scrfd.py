"""A network with the inputs and outputs of SCRFD that detects one face by template matching."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

STRIDE = 8
"""Pixels per point of the finest scale; no face is detected on the two coarser ones."""

THRESHOLD = 2.0
"""Squared distance from the known face, summed over its cells, at which the score is 0.5."""


def write_tiny_scrfd(path: Path, image: NDArray[np.uint8], cells: tuple[slice, slice]) -> Path:
    """Write a network that detects the face in `cells` (of STRIDE x STRIDE) of an RGB image."""
    height, width = (side // STRIDE for side in image.shape[:2])
    blocks = ((image.astype("float32") - 127.5) / 128).reshape(height, STRIDE, width, STRIDE, 3)
    face = blocks.mean(axis=(1, 3))[cells].transpose(2, 0, 1)[None]
    span = face.shape[-1]
    half = span * STRIDE / 2
    constants = {
        "face": -2 * face,
        "ones": np.ones_like(face),
        "offset": np.float32((face**2).sum() - THRESHOLD),
        "zero": np.float32(0),
        "score_shape": np.array([-1, 1], "int64"),
        "box_shape": np.array([-1, 4], "int64"),
    }
    same = {"pads": [span // 2] * 4, "kernel_shape": [span, span]}
    node = helper.make_node
    nodes = [
        node("AveragePool", ["input"], ["cells"], kernel_shape=[STRIDE] * 2, strides=[STRIDE] * 2),
        node("Conv", ["cells", "face"], ["product"], **same),
        node("Mul", ["cells", "cells"], ["squares"]),
        node("Conv", ["squares", "ones"], ["length"], **same),
        node("Sum", ["product", "length", "offset"], ["distance"]),
        node("Neg", ["distance"], ["closeness"]),
        node("Sigmoid", ["closeness"], ["sure"]),
    ]
    for stride in (8, 16, 32):
        if stride == STRIDE:
            nodes.append(node("Mul", ["sure", "zero"], [f"none_{stride}"]))
        else:
            step = stride // STRIDE
            pool = {"kernel_shape": [step] * 2, "strides": [step] * 2}
            nodes.append(node("AveragePool", [f"none_{STRIDE}"], [f"none_{stride}"], **pool))
        none = f"none_{stride}"
        first = "sure" if stride == STRIDE else none
        constants[f"half_{stride}"] = np.float32(half / stride)
        nodes += [
            node("Concat", [first, none], [f"pair_{stride}"], axis=1),
            node("Concat", [none] * 8, [f"zeros_{stride}"], axis=1),
            node("Add", [f"zeros_{stride}", f"half_{stride}"], [f"edges_{stride}"]),
        ]
        for name, output in (("pair", "score"), ("edges", "box")):
            last = f"{name}_{stride}_last"
            nodes += [
                node("Transpose", [f"{name}_{stride}"], [last], perm=[0, 2, 3, 1]),
                node("Reshape", [last, f"{output}_shape"], [f"{output}_{stride}"]),
            ]
    outputs = [
        helper.make_tensor_value_info(f"{name}_{stride}", TensorProto.FLOAT, [None, width])
        for name, width in (("score", 1), ("box", 4))
        for stride in (8, 16, 32)
    ]
    sides: list[int | str] = [1, 3, "height", "width"]
    graph = helper.make_graph(
        nodes,
        "tiny_scrfd",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, sides)],
        outputs,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
