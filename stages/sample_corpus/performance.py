"""What moves in a clip: the expression comes and goes, eyes blink, lips speak, the head sways."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecmf.media import SAMPLES_PER_SECOND
from sample_corpus.expression import ACTION_UNITS, Expression

LOUDEST_OPENING = 0.85
SILENCE = 0.004
"""Root mean square of a frame below which lips are closed; full scale is 1."""
BLINK_SECONDS = 0.06
EYES_CLOSED = Expression._fields.index("eyes_closed")


@dataclass(frozen=True)
class Pose:
    """A head at one moment: a turn or nod of 1 is about 30°; tilt in degrees, shifts in pixels."""

    face: Expression
    speech: float
    turn: float
    nod: float
    tilt: float
    shift_x: float
    shift_y: float


def lips(samples: NDArray[np.float32], frames_per_second: int) -> NDArray[np.float64]:
    """Sound -> how far it opens the mouth, 0 to 1: (frames,)."""
    frames = -(-len(samples) * frames_per_second // SAMPLES_PER_SECOND)
    starts = np.arange(frames) * SAMPLES_PER_SECOND // frames_per_second
    energy = np.add.reduceat(samples.astype(np.float64) ** 2, starts)
    loudness = np.sqrt(energy / np.diff(starts, append=len(samples)))
    loud = np.percentile(loudness, 90) + 1e-6
    opening: NDArray[np.float64] = np.clip(loudness / loud, 0, 1) ** 0.8
    opening[loudness < SILENCE] = 0
    return opening


def perform(
    expression: Expression,
    opening: NDArray[np.float64],
    frames_per_second: int,
    random: np.random.Generator,
) -> Iterator[Pose]:
    """An expression at its strongest and the lips of every frame -> the pose of every frame."""
    strongest = np.array(expression)
    end = len(opening) / frames_per_second
    phase, frequency = random.uniform(0, 2 * np.pi, 6), random.uniform(0.15, 0.6, 6)
    amplitude = random.uniform(0.3, 1, 6)
    blinks = random.uniform(0.3, end - 0.2, 2 if random.random() < 0.5 else 1)
    turn, tilt = random.normal(0, 0.15), random.normal(0, 1.5)
    for index, open_by in enumerate(opening.tolist()):
        seconds = index / frames_per_second
        sway = amplitude * np.sin(2 * np.pi * frequency * seconds + phase)
        onset = min(0.35 + 0.65 * seconds / 0.5, 1)
        offset = 1 - 0.15 * min(max((seconds - end + 0.4) / 0.4, 0), 1)
        now = strongest * onset * offset
        now[: ACTION_UNITS - 1] *= 1 + 0.06 * sway[5]
        blink = np.exp(-(((seconds - blinks) / BLINK_SECONDS) ** 2)).max()
        now[EYES_CLOSED] = min(1, max(now[EYES_CLOSED], blink))
        face = Expression(*now.tolist())
        yield Pose(
            face=face,
            speech=open_by * LOUDEST_OPENING,
            turn=turn + 0.3 * sway[0],
            nod=0.35 * face.head_down + 0.2 * sway[1],
            tilt=tilt + 2 * sway[2] + 3 * face.head_tilt,
            shift_x=4 * sway[3],
            shift_y=2 * sway[4] + 2 * face.head_down,
        )
