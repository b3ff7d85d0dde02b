"""Clips without labels -> a model that has practised on them, if it is one that does."""

import numpy as np
import torch
from numpy.typing import NDArray

from ecmf.params import TrainFusion
from ecmf.training.batch_sampler import batched, count_batches
from ecmf.training.dataset import Dataset
from ecmf.training.model import Model
from ecmf.training.optimizers import make_optimiser, make_schedule, precision, step


def practise(
    model: Model,
    dataset: Dataset,
    clips: NDArray[np.int64],
    chance: np.random.Generator,
    params: TrainFusion,
) -> list[float]:
    """Let the model practise what it does without labels, if it does; the mean loss per epoch."""
    pretext = model.pretext()
    if pretext is None:
        return []
    pretext.to(dataset.device).train()
    optimiser = make_optimiser(pretext, params)
    schedule = make_schedule(
        optimiser, count_batches(len(clips), params.batch), params, epochs=pretext.epochs
    )
    history = []
    for _ in range(pretext.epochs):
        total = 0.0
        for chosen in batched(clips, dataset.lengths, params.batch, chance):
            batch = model.scaled(dataset.batch(torch.from_numpy(chosen)))
            with precision(dataset.device, params):
                loss = pretext(batch).float().mean()
            step(pretext, loss, optimiser, params)
            schedule.step()
            pretext.step()
            total += loss.item() * len(chosen)
        history.append(total / len(clips))
    return history
