"""Words spoken by espeak-ng, in a program of its own.

espeak-ng is under the GPL-3 and an optional extra of the sample generator: it is loaded only by the
program `espeak_program.py`, which gets sentences on its standard input and answers with samples.
The sound it makes is free.
"""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from ecmf.media import SAMPLES_PER_SECOND

PROGRAM = Path(__file__).with_name("espeak_program.py")
FULL_SCALE = 32768


@dataclass(frozen=True)
class Utterance:
    """A sentence and how to say it: a voice of espeak, pitch and range 0 to 99, words/minute."""

    text: str
    variant: str
    pitch: int
    pitch_range: int
    rate: int


def installed() -> bool:
    """Whether the extra `sample-voice` is there."""
    return importlib.util.find_spec("espeakng_loader") is not None


def say(utterances: Sequence[Utterance]) -> list[NDArray[np.float32]]:
    """Say each sentence, -1 to 1 at SAMPLES_PER_SECOND; what stands before it changes nothing."""
    asked = json.dumps([asdict(utterance) for utterance in utterances])
    answer = subprocess.run(
        [sys.executable, str(PROGRAM)], input=asked.encode(), capture_output=True, check=False
    )
    if answer.returncode:
        raise RuntimeError(f"{PROGRAM.name} failed: {answer.stderr.decode(errors='replace')}")
    header, _, sound = answer.stdout.partition(b"\n")
    told = json.loads(header)
    pieces = np.split(np.frombuffer(sound, dtype="<i2"), np.cumsum(told["samples"])[:-1])
    return [
        soxr.resample(
            piece.astype(np.float32) / FULL_SCALE, told["samples_per_second"], SAMPLES_PER_SECOND
        )
        for piece in pieces
    ]
