"""Compare decoding a clip and cropping its faces, which reads the file again, with decoding alone.

`python benchmarks/crop_speed.py [video files]`, from the project's root. Decoding is what
`decode_video` computes of a clip: 16 frames of at most 320 pixels as JPEG, and the audio. Cropping
is what `crop_faces` computes of it: it decodes the 16 frames again, of the file's own size, and
cuts, resizes and compresses the face of each. Detection is printed as a line of its own, because
each detector has its own cost and would search the same images if the file were read once. CPU time
of all threads, best of several alternating rounds.

It fails if decoding and cropping a generated clip of 720p H.264 with audio cost more than 2.3 times
decoding.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # as in the workers of a stage

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "stages"))

from decode_speed import write_video
from support.cpu_time import best_cpu_seconds

from ecmf import registry
from ecmf.cropping.base import Detector, Face
from ecmf.cropping.face_cropper import FaceCropper
from ecmf.data.manifest import Clip
from ecmf.decoding.clip_decoder import ClipDecoder
from ecmf.decoding.second_reading import SecondReading, StoredClip
from ecmf.media import RGB
from ecmf.params import CropFaces, DecodeVideo

ROUNDS, MAX_RATIO = 5, 2.3


class FixedDetector:
    """Return one face of 40 % of the height in the middle of an image, at no cost."""

    default_confidence = 0.5
    uses_device = False
    sides = (320,)
    provenance: Mapping[str, Any] = {}

    def __call__(self, image: RGB, minimum_confidence: float) -> list[Face]:
        """Return the face."""
        height, width = image.shape[:2]
        x, y, half = width / 2, height / 2, height / 5
        return [Face(x - half, y - half, x + half, y + half, 1)]


@dataclass(frozen=True)
class FixedCropper(FaceCropper):
    """Crop a face at a fixed place of each frame."""

    @property
    def detector(self) -> Detector:
        """The detector without a cost."""
        return FixedDetector()


def measure(path: Path, decoder: str) -> dict[str, float]:
    """Return the CPU seconds of the best round, by the name of a line."""
    decode = ClipDecoder(DecodeVideo(decoder=decoder))
    clip = Clip("clip", video=str(path))
    stored = StoredClip(clip, decode(clip).frames.times)
    reading = SecondReading.of_store(decode.frames_provenance)
    params = CropFaces()
    timed: dict[str, Callable[[], object]] = {
        "decoding": partial(decode, clip),
        "cropping": partial(FixedCropper(params, reading), stored),
        "with detection": partial(FaceCropper(params, reading), stored),
    }
    return best_cpu_seconds(timed, ROUNDS)


def report(path: Path, *, claimed: bool) -> bool:
    """Print the lines of a file; return whether the claim holds or does not apply."""
    holds = True
    for decoder in registry.names("decoders"):
        seconds = measure(path, decoder)
        once = seconds["decoding"]
        ratio = (once + seconds["cropping"]) / once
        detection = seconds["with detection"] - seconds["cropping"]
        fine = ratio <= MAX_RATIO
        holds = holds and (fine or not claimed)
        verdict = f"holds: {fine}" if claimed else "no claim"
        print(
            f"{path.name}, {decoder}: decoding and cropping {ratio:.2f} times decoding; {verdict}"
        )
        print(f"  detection adds {detection / once:.2f} times decoding")
    return holds


def main(paths: list[str]) -> bool:
    """Report on a generated clip and on every file; return whether the claim holds."""
    with tempfile.TemporaryDirectory() as folder:
        write_video(generated := Path(folder) / "generated.mp4")
        holds = report(generated, claimed=True)
    for path in paths:
        report(Path(path), claimed=False)
    return holds


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1:]) else 1)
