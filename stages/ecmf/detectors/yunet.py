"""Detect faces with YuNet, a network of 75,000 weights, run by OpenCV (`cv2.FaceDetectorYN`).

Finds faces of at least 10 pixels, also turned and tilted. W. Wu, H. Peng, S. Yu, "YuNet: a tiny
millisecond-level face detector", Machine Intelligence Research 20 (2023). The weights are not part
of this project: `face_detection_yunet_2023mar.onnx` of github.com/opencv/opencv_zoo (MIT), which is
also on the Hugging Face hub, or `yunet_n_*.onnx` of github.com/ShiqiYu/libfacedetection.train
(Apache-2.0).

Measured with `yunet_n_dynamic.onnx` on images of 320 pixels on the longer side, on one core: it
found exactly one face in each of 120 frames of three RAVDESS clips (6 to 10 ms a frame, lowest
score 0.93) and of 5,760 drawn frames (8 ms, lowest score 0.89). Its boxes reach from chin to
hairline.
"""

import functools
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from pydantic import Field

from ecmf.config import Section
from ecmf.cropping.base import Face, Sides
from ecmf.errors import MissingFileError
from ecmf.media import RGB
from ecmf.pretrained.hub_file import find_file
from ecmf.pretrained.onnx_model import read_proto
from ecmf.storage import files

WEIGHTS_LICENCE = "Apache-2.0 or MIT, by the file"
NEEDS = "a repository of the hub, or the ONNX file of the weights"

SIDE_MULTIPLE = 32
"""The network halves an image five times, so OpenCV pads its sides to a multiple of this."""

OUTPUTS = {f"{head}_{stride}" for head in ("cls", "obj", "bbox", "kps") for stride in (8, 16, 32)}
"""Class, objectness, box and landmarks, one point per `stride` pixels of the image."""

REMEDY = (
    "download face_detection_yunet_2023mar.onnx from github.com/opencv/opencv_zoo and name it in "
    "crop_faces.options.yunet.weights"
)

NO_CONFIG = np.empty(0, np.uint8)


class Options(Section):
    """Weights of the network, sizes of the image, and its non-maximum suppression.

    The weights are the file `weights` if there is one, else the file `file` of the repository.
    """

    weights: str = Field("", description="Path of the ONNX file.")
    sha256: str = Field("", description="SHA-256 of the file `weights`.")
    repository: str = Field(
        "opencv/face_detection_yunet", description="Repository of the Hugging Face hub."
    )
    revision: str = Field("main", description="Commit (best), branch or tag of the repository.")
    file: str = Field(
        "face_detection_yunet_2023mar.onnx", description="The ONNX file in the repository."
    )
    sides: Sides = (320, 640)
    overlap: float = Field(0.3, gt=0, le=1, description="Maximum intersection over union of boxes.")


class Detector:
    """YuNet with weights from a file. A score is between 0 and 1."""

    default_confidence = 0.7
    uses_device = False

    def __init__(self, options: Options) -> None:
        path, source = _find_weights(options)
        self.sides = options.sides
        self._model = _read_model(path)
        self._overlap = options.overlap
        self._network = functools.lru_cache(maxsize=8)(self._open_network)
        self.provenance = {**source, "opencv": cv2.__version__}

    def __call__(self, image: RGB, minimum_confidence: float) -> list[Face]:
        """Find every face with a score of at least `minimum_confidence`, highest score first."""
        height, width = image.shape[:2]
        network = self._network(width, height)
        network.setScoreThreshold(minimum_confidence)
        _, rows = network.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        faces = [
            # between the box and the score: 5 points of eyes, nose and mouth
            Face(row[0], row[1], row[0] + row[2], row[1] + row[3], row[-1])
            for row in ([] if rows is None else rows.astype(float).tolist())
        ]
        return sorted(faces, key=lambda face: -face.score)

    def _open_network(self, width: int, height: int) -> Any:
        return cv2.FaceDetectorYN.create(
            "onnx",
            np.frombuffer(_fix_input_size(self._model, width, height), np.uint8),
            NO_CONFIG,
            (width, height),
            nms_threshold=self._overlap,
        )


def _find_weights(options: Options) -> tuple[Path, dict[str, Any]]:
    """Return the file of the weights and its provenance."""
    if options.weights:
        path = files.verify_sha256(options.weights, options.sha256, REMEDY)
        return path, {"weights": options.sha256}
    path, source = find_file(options.repository, options.revision, options.file, REMEDY)
    return path, {**source, "weights": files.sha256(path)}


def _read_model(path: Path) -> onnx.ModelProto:
    """Read the network; raises MissingFileError unless it has the outputs of YuNet."""
    try:
        model = read_proto(path)
    except (MissingFileError, OSError) as error:
        raise MissingFileError(f"{path} is not a YuNet network: {error}; {REMEDY}") from error
    missing = OUTPUTS - {output.name for output in model.graph.output}
    if missing:
        names = ", ".join(sorted(missing))
        raise MissingFileError(f"{path} is not a YuNet network: it has no output {names}; {REMEDY}")
    return model


def _fix_input_size(model: onnx.ModelProto, width: int, height: int) -> bytes:
    """Set the image size in a network of variable input size, as OpenCV requires."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    sides = fixed.graph.input[0].type.tensor_type.shape.dim
    if not all(side.dim_value for side in sides):
        padded = [-(-pixels // SIDE_MULTIPLE) * SIDE_MULTIPLE for pixels in (height, width)]
        for side, pixels in zip(sides, (1, 3, *padded), strict=True):
            side.dim_value = pixels
        for output in fixed.graph.output:
            stride = int(output.name.rpartition("_")[2])
            shape = output.type.tensor_type.shape.dim
            shape[0].dim_value, shape[1].dim_value = 1, math.prod(x // stride for x in padded)
    content: bytes = fixed.SerializeToString()
    return content
