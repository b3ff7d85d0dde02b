"""Draw the batches of several runs in parallel, each with its own random generator.

All runs have the same number of batches; the sizes of their batches differ by at most one clip.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ecmf.data.splits import Indices
from ecmf.params import TrainFusion
from ecmf.training.augmentation import draw_mixup
from ecmf.training.batch_sampler import count_batches, draw_batches
from ecmf.training.dataset import Dataset
from ecmf.training.trainer import TrainState


class VmapStep(NamedTuple):
    """One batch of every run, padded to a common size.

    Attributes:
        clips: Positions of the clips, (runs, size), on the CPU.
        real: False for padding, (runs, size).
        fraction: Mixup fraction of each run, (runs,).
        partner: Mixup partner of each clip, as a position in its batch, (runs, size).
    """

    clips: Indices
    real: Tensor
    fraction: Tensor
    partner: Tensor


def draw_steps(
    states: Sequence[TrainState], dataset: Dataset, params: TrainFusion
) -> Iterator[VmapStep]:
    """Draw one epoch of every run, with the draws in the order of `fit`.

    Raises:
        ValueError: the runs have different numbers of batches.
    """
    counts = {count_batches(len(state.train), params.batch_size) for state in states}
    if len(counts) > 1:
        raise ValueError(f"the runs of a group have {sorted(counts)} batches: all need as many")
    (count,) = counts
    size = max(-(-len(state.train) // count) for state in states)
    clips = np.zeros((count, len(states), size), "int64")
    real = np.zeros(clips.shape, bool)
    fraction = np.zeros(clips.shape[:2], "float32")
    partner = np.tile(np.arange(size), (*clips.shape[:2], 1))
    for run, state in enumerate(states):
        batches = draw_batches(state.train, dataset.lengths, params.batch_size, state.rng)
        for step, batch in enumerate(batches):
            n = len(batch)
            clips[step, run] = np.pad(batch, (0, size - n), mode="edge")
            real[step, run, :n] = True
            if params.mixup:
                fraction[step, run], partner[step, run, :n] = draw_mixup(n, params.mixup, state.rng)
    drawn = [torch.from_numpy(array).to(dataset.device) for array in (real, fraction, partner)]
    return (VmapStep(clips[step], *(part[step] for part in drawn)) for step in range(count))


def pad_clips(clips: Sequence[Indices], device: torch.device) -> tuple[Indices, Tensor]:
    """Pad lists of clips to an array (runs, longest), and return it with its mask."""
    longest = max(map(len, clips))
    table = np.stack([np.pad(own, (0, longest - len(own))) for own in clips])
    real = np.arange(longest) < np.array([len(own) for own in clips])[:, None]
    return table, torch.from_numpy(real).to(device)
