"""Pretrain a fusion model on clips without their labels, if it has pretext tasks."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ecmf.data.splits import Indices
from ecmf.fusion.base import PretextTask
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
    """Train the model's pretext tasks, if any, on `clips`; return the mean loss of each epoch."""
    batches = count_batches(len(clips), params.batch_size)
    losses: list[float] = []
    for task in model.fusion.pretext_tasks():
        task.to(dataset.device)

        def draw() -> Iterator[Indices]:
            yield from draw_batches(clips, dataset.lengths, params.batch_size, rng)

        def loss(chosen: Indices, task: PretextTask = task) -> tuple[Tensor, int]:
            batch = model.standardise(dataset.batch(torch.from_numpy(chosen)))
            with autocast(dataset.device, params):
                return task(batch).float().mean(), len(chosen)

        totals = train_epochs(
            task, draw, loss, params, batches=batches, epochs=task.epochs, after_step=task.step
        )
        losses += [total.item() / len(clips) for total in totals]
    return losses
