"""Pretrain a fusion model on clips without their labels, if it has a pretext task."""

import numpy as np
import torch

from ecmf.data.splits import Indices
from ecmf.params import TrainFusion
from ecmf.training.batch_sampler import count_batches, draw_batches
from ecmf.training.dataset import Dataset
from ecmf.training.model import Model
from ecmf.training.optimizers import autocast, make_optimizer, make_schedule, take_step


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
    pretext.to(dataset.device).train()
    optimizer = make_optimizer(pretext, params)
    schedule = make_schedule(
        optimizer, count_batches(len(clips), params.batch_size), params, epochs=pretext.epochs
    )
    history = []
    for _ in range(pretext.epochs):
        total = 0.0
        for chosen in draw_batches(clips, dataset.lengths, params.batch_size, rng):
            batch = model.standardise(dataset.batch(torch.from_numpy(chosen)))
            with autocast(dataset.device, params):
                loss = pretext(batch).float().mean()
            take_step(pretext, loss, optimizer, params)
            schedule.step()
            pretext.step()
            total += loss.item() * len(chosen)
        history.append(total / len(clips))
    return history
