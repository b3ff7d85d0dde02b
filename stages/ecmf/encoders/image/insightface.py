"""Encode the identity of a face by the recognition network of an insightface model pack (ArcFace).

J. Deng, J. Guo, N. Xue, S. Zafeiriou, "ArcFace: additive angular margin loss for deep face
recognition", CVPR 2019. The code is MIT; **the packs (`buffalo_l`, `antelopev2`, ...) are for
non-commercial research only** (github.com/deepinsight/insightface, python-package). Nothing is ever
downloaded: a pack that is not on this machine is an error.

The network was trained on faces rotated, scaled and shifted until eyes, nose and the corners of the
mouth lie at five fixed points. The crops of this pipeline are upright squares around the detector's
box, and landmarks are not used: a tilted head stays tilted, and a margin makes the face smaller
than any the network was trained on. The published accuracies are not to be expected, and rows of a
clip differ with the pose of the head too. The box without a margin comes nearest to an aligned
face: `trim` cuts the margin off again.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ecmf.config import Section
from ecmf.encoding.onnx_images import OnnxImageEncoder, OnnxImageOptions
from ecmf.errors import MissingFileError
from ecmf.pretrained import onnx_model

WEIGHTS_LICENCE = "non-commercial research"
NEEDS = "a model pack of insightface on this machine"

FACE_PIXELS = 112

MEAN_AND_STD = 127.5
"""A pixel becomes (pixel - 127.5) / 127.5."""


class Options(Section):
    """Model pack, trimming and normalisation.

    Faces are compared by the angle between rows; the length reflects the quality of the image.
    """

    model: str = Field(
        "buffalo_l", description="Folder of ONNX files, name of a pack, or one ONNX file."
    )
    sha256: str = Field(
        "", description="SHA-256 of the network's file; leave it out once, the error names it."
    )
    trim: float = Field(
        0.0, ge=0, lt=0.5, description="Fraction cut off each side; 0.14 undoes a margin of 0.2."
    )
    normalise: bool = Field(True, description="Scale each row to length 1.")


class Encoder(OnnxImageEncoder):
    """Encode each face crop as one row, with its time."""

    def __init__(self, options: Options) -> None:
        path = onnx_model.find_in_pack(
            options.model, "face recognition network", "`model`", _recognises
        )
        graph = onnx_model.read_model(path) if path.is_file() else None
        if graph and not _recognises(graph):
            raise MissingFileError(
                f"{path} is no face recognition network: that takes faces of 3 x {FACE_PIXELS} x "
                f"{FACE_PIXELS} and returns one row for each"
            )
        takes_raw_pixels = graph is not None and _normalises_pixels(graph)
        super().__init__(
            OnnxImageOptions(
                weights=str(path),
                sha256=options.sha256,
                scale=1.0,
                mean=(0.0 if takes_raw_pixels else MEAN_AND_STD,),
                std=(1.0 if takes_raw_pixels else MEAN_AND_STD,),
                trim=options.trim,
            )
        )
        self._normalise = options.normalise

    def forward(self, batch: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Compute rows (faces, dim) from pixels (faces, height, width, channels)."""
        rows = super().forward(batch)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True) if self._normalise else rows


def _recognises(graph: onnx_model.OnnxModel) -> bool:
    """Return whether it takes 112 x 112 and returns one row, as no other network of a pack does."""
    return (
        [tensor.shape[1:] for tensor in graph.inputs] == [(3, FACE_PIXELS, FACE_PIXELS)]
        and [len(tensor.shape) for tensor in graph.outputs] == [2]
    )  # fmt: skip


def _normalises_pixels(graph: onnx_model.OnnxModel) -> bool:
    """Return whether the network normalises pixels itself (mxnet), as ArcFaceONNX detects it."""
    names = graph.first_nodes
    subtracts = any(name.startswith(("Sub", "_minus")) for name in names)
    return subtracts and any(name.startswith(("Mul", "_mul")) for name in names)
