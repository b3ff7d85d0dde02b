"""Detect faces with SCRFD, the detector of insightface's model packs, run by onnxruntime.

J. Guo, J. Deng, A. Lattas, S. Zafeiriou, "Sample and computation redistribution for efficient face
detection", arXiv:2105.04714. The code is MIT; **the packs (`buffalo_l`, `antelopev2`, ...) are for
non-commercial research only** (github.com/deepinsight/insightface, python-package). Nothing is
downloaded: a pack that is not on this machine is an error.
"""

import cv2
import insightface
from insightface.model_zoo.scrfd import SCRFD
from pydantic import Field

from ecmf.config import Section
from ecmf.cropping.base import Face
from ecmf.execution.device import onnx_session
from ecmf.media import RGB
from ecmf.pretrained import onnx_model
from ecmf.storage import files

WEIGHTS_LICENCE = "non-commercial research"
NEEDS = "a model pack of insightface on this machine"

OPTION = "options.insightface.model"

OUTPUTS = {6, 9, 10, 15}
"""Possible numbers of outputs of SCRFD: scores, boxes, maybe landmarks, at 3 or 5 scales."""


class Options(Section):
    """Weights of the network and its input size."""

    model: str = Field(
        "buffalo_l", description="A folder of ONNX files, the name of a pack, or one ONNX file."
    )
    sha256: str = Field("", description="SHA-256 of the ONNX file of the detector.")
    input_side: int = Field(640, ge=64, multiple_of=32, description="Input side in pixels.")


class Detector:
    """SCRFD with weights from a pack. A score is between 0 and 1."""

    default_confidence = 0.5
    uses_device = True

    def __init__(self, options: Options) -> None:
        file = onnx_model.find_in_pack(options.model, "face detector", OPTION, _is_detector)
        remedy = onnx_model.PACK_REMEDY.format(option=OPTION)
        path = files.verify_sha256(str(file), options.sha256, remedy)
        # One session for all image sizes: insightface would open another per size, without the
        # check of the device.
        self._network = SCRFD(str(path), onnx_session(path), static_shape_sessions=False)
        self.sides = (options.input_side,)
        self._input_size = (options.input_side, options.input_side)
        self.provenance = {
            "file": path.name,
            "weights": options.sha256,
            "insightface": insightface.__version__,
        }

    def __call__(self, image: RGB, minimum_confidence: float) -> list[Face]:
        """Find every face with a score of at least `minimum_confidence`, highest score first."""
        rows, _ = self._network.detect(
            cv2.cvtColor(image, cv2.COLOR_RGB2BGR),
            input_size=self._input_size,
            det_thresh=minimum_confidence,
        )
        return [Face(*row) for row in rows.astype(float).tolist()]


def _is_detector(model: onnx_model.OnnxModel) -> bool:
    return len(model.outputs) in OUTPUTS
