"""Faces by SCRFD, the detector of insightface's model packs, run by onnxruntime.

J. Guo, J. Deng, A. Lattas, S. Zafeiriou, "Sample and computation redistribution for efficient face
detection", arXiv:2105.04714. The code is MIT; **the packs (`buffalo_l`, `antelopev2`, ...) are for
non-commercial research only** (github.com/deepinsight/insightface, python-package). Nothing is ever
downloaded: a pack that is not on this machine is an error that says so.
"""

from pathlib import Path

import cv2
import insightface
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from insightface.model_zoo.scrfd import SCRFD
from pydantic import Field

from ecmf import files
from ecmf.detectors.base import Face
from ecmf.device import onnx_session
from ecmf.errors import MissingFileError
from ecmf.media import RGB
from ecmf.section import Section

PACKS = Path("~/.insightface/models")
"""Where the insightface package keeps its model packs, one folder each."""

REMEDY = (
    "unpack a model pack of github.com/deepinsight/insightface there (its weights are for "
    "non-commercial research only), or name another folder in options.insightface.model"
)

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
        path = files.verified(str(_detector_file(options.model)), options.sha256, REMEDY)
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


def _detector_file(model: str) -> Path:
    """Find the one detector among the files of a folder or pack."""
    place = Path(model)
    if place.suffix == ".onnx":
        return place
    if not place.is_dir():
        place = PACKS.expanduser() / model
    if not place.is_dir():
        raise MissingFileError(
            f"no model pack {model!r}: neither a folder of that name, nor {PACKS / model}: {REMEDY}"
        )
    detectors = [file for file in sorted(place.glob("*.onnx")) if _is_detector(file)]
    if len(detectors) != 1:
        names = ", ".join(file.name for file in detectors) or "none"
        raise MissingFileError(
            f"{place} should hold one face detector as ONNX file, but holds {names}: name the file "
            "itself in options.insightface.model"
        )
    return detectors[0]


def _is_detector(file: Path) -> bool:
    try:
        return len(onnx.load(str(file), load_external_data=False).graph.output) in OUTPUTS
    except DecodeError as error:
        raise MissingFileError(f"{file} is no ONNX file: {REMEDY}") from error
