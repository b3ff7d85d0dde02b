"""Synthesise speech with espeak-ng, in a separate program.

espeak-ng (GPL-3) is an optional extra. It is loaded only by the program `espeak_program.py`, which
reads sentences from standard input and writes samples. Its licence does not cover its output.
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

from ecmf.media import SAMPLE_RATE

PROGRAM = Path(__file__).with_name("espeak_program.py")
FULL_SCALE = 32768


@dataclass(frozen=True)
class Utterance:
    """A sentence with espeak's voice variant, pitch and range (0 to 99), and words per minute."""

    text: str
    variant: str
    pitch: int
    pitch_range: int
    rate: int


def is_installed() -> bool:
    """Return whether the extra `sample-voice` is installed."""
    return importlib.util.find_spec("espeakng_loader") is not None


def synthesise(utterances: Sequence[Utterance]) -> list[NDArray[np.float32]]:
    """Synthesise each sentence, -1 to 1 at SAMPLE_RATE, independently of the others."""
    request = json.dumps([asdict(utterance) for utterance in utterances])
    process = subprocess.run(
        [sys.executable, str(PROGRAM)], input=request.encode(), capture_output=True, check=False
    )
    if process.returncode:
        raise RuntimeError(f"{PROGRAM.name} failed: {process.stderr.decode(errors='replace')}")
    header, _, data = process.stdout.partition(b"\n")
    info = json.loads(header)
    waveforms = np.split(np.frombuffer(data, dtype="<i2"), np.cumsum(info["samples"])[:-1])
    return [
        soxr.resample(
            waveform.astype(np.float32) / FULL_SCALE, info["samples_per_second"], SAMPLE_RATE
        )
        for waveform in waveforms
    ]
