"""Animate a face: onset and offset of the expression, blinks, lip and head movements."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecmf.media import SAMPLE_RATE
from sample_corpus.expression import MUSCLES, Expression

MAX_OPENING = 0.85
SILENCE = 0.004
"""Root mean square of a frame (full scale is 1) below which lips are closed."""
BLINK_SECONDS = 0.06
EYES_CLOSED = Expression._fields.index("eyes_closed")


@dataclass(frozen=True)
class Pose:
    """Head pose in one frame: turn and nod (1 is about 30°), tilt (degrees), shifts (pixels)."""

    face: Expression
    speech: float
    turn: float
    nod: float
    tilt: float
    shift_x: float
    shift_y: float


def mouth_opening(samples: NDArray[np.float32], frames_per_second: int) -> NDArray[np.float64]:
    """Return the opening of the mouth in each frame, 0 to 1, from the loudness: (frames,)."""
    frames = -(-len(samples) * frames_per_second // SAMPLE_RATE)
    starts = np.arange(frames) * SAMPLE_RATE // frames_per_second
    energy = np.add.reduceat(samples.astype(np.float64) ** 2, starts)
    loudness = np.sqrt(energy / np.diff(starts, append=len(samples)))
    reference = np.percentile(loudness, 90) + 1e-6
    opening: NDArray[np.float64] = np.clip(loudness / reference, 0, 1) ** 0.8
    opening[loudness < SILENCE] = 0
    return opening


def animate(
    expression: Expression,
    opening: NDArray[np.float64],
    frames_per_second: int,
    rng: np.random.Generator,
) -> Iterator[Pose]:
    """Yield the pose of every frame for an expression at full strength and a mouth opening."""
    full = np.array(expression)
    end = len(opening) / frames_per_second
    phase, frequency = rng.uniform(0, 2 * np.pi, 6), rng.uniform(0.15, 0.6, 6)
    amplitude = rng.uniform(0.3, 1, 6)
    blinks = rng.uniform(0.3, end - 0.2, 2 if rng.random() < 0.5 else 1)
    turn, tilt = rng.normal(0, 0.15), rng.normal(0, 1.5)
    for index, mouth in enumerate(opening.tolist()):
        seconds = index / frames_per_second
        sway = amplitude * np.sin(2 * np.pi * frequency * seconds + phase)
        onset = min(0.35 + 0.65 * seconds / 0.5, 1)
        offset = 1 - 0.15 * min(max((seconds - end + 0.4) / 0.4, 0), 1)
        state = full * onset * offset
        state[: MUSCLES - 1] *= 1 + 0.06 * sway[5]
        blink = np.exp(-(((seconds - blinks) / BLINK_SECONDS) ** 2)).max()
        state[EYES_CLOSED] = min(1, max(state[EYES_CLOSED], blink))
        face = Expression(*state.tolist())
        yield Pose(
            face=face,
            speech=mouth * MAX_OPENING,
            turn=turn + 0.3 * sway[0],
            nod=0.35 * face.head_down + 0.2 * sway[1],
            tilt=tilt + 2 * sway[2] + 3 * face.head_tilt,
            shift_x=4 * sway[3],
            shift_y=2 * sway[4] + 2 * face.head_down,
        )
