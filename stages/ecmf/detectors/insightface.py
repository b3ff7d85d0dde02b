"""Faces by SCRFD, the detector of insightface's model packs, run by onnxruntime.

J. Guo, J. Deng, A. Lattas, S. Zafeiriou, "Sample and computation redistribution for efficient face
detection", arXiv:2105.04714. The code is MIT; **the packs (`buffalo_l`, `antelopev2`, ...) are for
non-commercial research only** (github.com/deepinsight/insightface, python-package). Nothing is ever
downloaded: a pack that is not on this machine is an error that says so.
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

OPTION = "options.insightface.model"

OUTPUTS = {6, 9, 10, 15}
"""How many outputs an SCRFD network has: scores and boxes, maybe landmarks, at 3 or 5 scales."""


class Options(Section):
    """What to load, and how large the picture is shown to it.

    `model` is a folder of ONNX files, the name of a pack, or one ONNX file; `sha256` is that of the
    detector's file. A picture is fitted into a square of `input_side` pixels.
    """

    model: str = "buffalo_l"
    sha256: str = ""
    input_side: int = Field(640, ge=64, multiple_of=32)


class Detector:
    """SCRFD with weights from a pack. A score is between 0 and 1."""

    default_confidence = 0.5
    uses_device = True

    def __init__(self, options: Options) -> None:
        file = onnx_model.in_pack(options.model, "face detector", OPTION, _detects)
        remedy = onnx_model.PACK_REMEDY.format(option=OPTION)
        path = files.verified(str(file), options.sha256, remedy)
        # One session for all picture sides: insightface would open another one per side by itself,
        # without the check of the device.
        self._network = SCRFD(str(path), onnx_session(path), static_shape_sessions=False)
        self._sides = (options.input_side, options.input_side)
        self.provenance = {
            "file": path.name,
            "weights": options.sha256,
            "insightface": insightface.__version__,
        }

    def __call__(self, picture: RGB, minimum_confidence: float) -> list[Face]:
        """Find every face with a score of `minimum_confidence` or more, the surest first."""
        rows, _ = self._network.detect(
            cv2.cvtColor(picture, cv2.COLOR_RGB2BGR),
            input_size=self._sides,
            det_thresh=minimum_confidence,
        )
        return [Face(*row) for row in rows.astype(float).tolist()]


def _detects(graph: onnx_model.Graph) -> bool:
    return len(graph.outputs) in OUTPUTS
