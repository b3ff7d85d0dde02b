"""One epoch of several runs -> batches of all of them, side by side, each by its own chance.

Runs have as many batches as each other, but a batch may have a clip less than the one beside it.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecmf.params import TrainFusion
from ecmf.training.augmentation import draw_mixup
from ecmf.training.batch_sampler import batched, count_batches
from ecmf.training.dataset import Dataset
from ecmf.training.trainer import Start


class Step(NamedTuple):
    """One batch of every run: `clips` and which are `real`, (runs, size), and their mixup.

    `share` is (runs,); `other` (runs, size) is the place of each clip's other in its own batch.
    `clips` stay on the host, which cuts the batch; the rest is on the device.
    """

    clips: NDArray[np.int64]
    real: Tensor
    share: Tensor
    other: Tensor


def steps_of(starts: Sequence[Start], dataset: Dataset, params: TrainFusion) -> Iterator[Step]:
    """Draw one epoch, each run by its own chance in the order in which `fit` draws.

    Raises:
        ValueError: the runs do not have as many batches as each other.
    """
    counts = {count_batches(len(start.train), params.batch) for start in starts}
    if len(counts) > 1:
        raise ValueError(f"runs of one stack have {sorted(counts)} batches: stack them apart")
    (count,) = counts
    largest = max(-(-len(start.train) // count) for start in starts)
    clips = np.zeros((count, len(starts), largest), "int64")
    real = np.zeros(clips.shape, bool)
    share = np.zeros(clips.shape[:2], "float32")
    other = np.tile(np.arange(largest), (*clips.shape[:2], 1))
    for run, start in enumerate(starts):
        for step, chosen in enumerate(
            batched(start.train, dataset.lengths, params.batch, start.chance)
        ):
            size = len(chosen)
            clips[step, run] = np.pad(chosen, (0, largest - size), mode="edge")
            real[step, run, :size] = True
            if params.mixup:
                share[step, run], other[step, run, :size] = draw_mixup(
                    size, params.mixup, start.chance
                )
    drawn = [torch.from_numpy(array).to(dataset.device) for array in (real, share, other)]
    return (Step(clips[step], *(part[step] for part in drawn)) for step in range(count))


def side_by_side(
    clips: Sequence[NDArray[np.int64]], where: torch.device
) -> tuple[NDArray[np.int64], Tensor]:
    """Lists of clips -> one table (runs, longest), and what of it is real."""
    longest = max(map(len, clips))
    table = np.stack([np.pad(own, (0, longest - len(own))) for own in clips])
    real = np.arange(longest) < np.array([len(own) for own in clips])[:, None]
    return table, torch.from_numpy(real).to(where)
