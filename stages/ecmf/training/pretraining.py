"""Pretrain a fusion model on clips without their labels, if it has a pretext task."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ecmf.data.splits import Indices
from ecmf.params import TrainFusion
from ecmf.training.batch_sampler import count_batches, draw_batches
from ecmf.training.dataset import Dataset
from ecmf.training.epochs import train_epochs
from ecmf.training.model import Model
from ecmf.training.optimizers import autocast


def pretrain(
    model: Model,
    dataset: Dataset,
    clips: Indices,
    rng: np.random.Generator,
    params: TrainFusion,
) -> list[float]:
    """Train the model's pretext task, if any, on `clips`; return the mean loss of each epoch."""
    pretext = model.fusion.pretext()
    if pretext is None:
        return []
    pretext.to(dataset.device)

    def draw() -> Iterator[Indices]:
        yield from draw_batches(clips, dataset.lengths, params.batch_size, rng)

    def loss(chosen: Indices) -> tuple[Tensor, int]:
        batch = model.standardise(dataset.batch(torch.from_numpy(chosen)))
        with autocast(dataset.device, params):
            return pretext(batch).float().mean(), len(chosen)

    batches = count_batches(len(clips), params.batch_size)
    totals = train_epochs(
        pretext, draw, loss, params,
        batches=batches, epochs=pretext.epochs, after_step=pretext.step,
    )  # fmt: skip
    return [total.item() / len(clips) for total in totals]
