"""Whose face it is, by the recognition network of a model pack of insightface (ArcFace).

J. Deng, J. Guo, N. Xue, S. Zafeiriou, "ArcFace: additive angular margin loss for deep face
recognition", CVPR 2019. The code is MIT; **the packs (`buffalo_l`, `antelopev2`, ...) are for
non-commercial research only** (github.com/deepinsight/insightface, python-package). Nothing is ever
downloaded: a pack that is not on this machine is an error that says so.

The network was trained on faces turned, scaled and shifted until eyes, nose and the corners of the
mouth lie at five fixed points. The crops of this pipeline are upright squares around the detector's
box, and no landmark is looked at: a tilted head stays tilted, and a margin makes the face smaller
than any the network has seen. The published accuracies are not to be expected, and rows of a clip
differ with the pose of the head too. The box without a margin comes nearest to an aligned face:
`trim` cuts the margin off again.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ecmf.config import Section
from ecmf.encoders.image import onnx
from ecmf.errors import MissingFileError
from ecmf.pretrained import onnx_model

EDGE = 112

MIDDLE = 127.5
"""A pixel becomes (pixel - 127.5) / 127.5."""


class Options(Section):
    """What to load.

    `model` is a folder of ONNX files, the name of a pack, or one ONNX file; `sha256` is that of the
    recognition network's file. `trim` is the share of a crop cut off on each side: 0.14 of one with
    a margin of 0.2 leaves the detector's box. `normalise` divides a row by its length: faces are
    compared by the angle between rows, and the length says rather how clear a picture is.
    """

    model: str = "buffalo_l"
    sha256: str = ""
    trim: float = Field(default=0.0, ge=0, lt=0.5)
    normalise: bool = True


class Encoder(onnx.Encoder):
    """Face crops in, one row for each with its time out."""

    def __init__(self, options: Options) -> None:
        path = onnx_model.in_pack(options.model, "face recognition network", "`model`", _recognises)
        graph = onnx_model.read(path) if path.is_file() else None
        if graph and not _recognises(graph):
            raise MissingFileError(
                f"{path} is no face recognition network: that takes faces of 3 x {EDGE} x {EDGE} "
                "and gives one row for each"
            )
        own = graph is not None and _normalises_pixels(graph)
        super().__init__(
            onnx.Options(
                weights=str(path),
                sha256=options.sha256,
                scale=1.0,
                mean=(0.0 if own else MIDDLE,),
                std=(1.0 if own else MIDDLE,),
                trim=options.trim,
            )
        )
        self._normalise = options.normalise

    def forward(self, batch: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Pixels (faces, height, width, channels) in, rows (faces, dim) out."""
        rows = super().forward(batch)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True) if self._normalise else rows


def _recognises(graph: onnx_model.Graph) -> bool:
    """Tell a recognition network: it alone of a pack takes 112 x 112 and gives a single row."""
    return (
        [array.sides[1:] for array in graph.inputs] == [(3, EDGE, EDGE)]
        and [len(array.sides) for array in graph.outputs] == [2]
    )  # fmt: skip


def _normalises_pixels(graph: onnx_model.Graph) -> bool:
    """Tell, as insightface's ArcFaceONNX does, a network that takes pixels as they are (mxnet)."""
    names = graph.beginning
    subtracts = any(name.startswith(("Sub", "_minus")) for name in names)
    return subtracts and any(name.startswith(("Mul", "_mul")) for name in names)
