"""Train several folds and seeds of one fusion model as one program, with torch.func.vmap.

A small model leaves most of a GPU idle, so training many at once costs little more than one. Each
run has its own clips, weights, mixup, gradient clipping, weight EMA and early stopping; the
learning rate schedule is shared, so only runs with the same number of batches are grouped.

A group equals runs of `trainer.fit` except for the last bits: sums are taken in another order, and
the runs share one random stream for dropout. A result therefore depends on the other runs of its
group, and a group is always trained as a whole. A batch is padded to the longest clip of all its
runs, which must not change an output. One difference remains: if no clip of a run's batch has a
second step, the pooling has no gradient, and `fit` does not change its weights; with vmap they
decay if another run has longer clips.
"""

import copy
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ecmf.data.features import Source
from ecmf.data.splits import Fold
from ecmf.errors import UserError
from ecmf.execution import device
from ecmf.params import TrainFusion
from ecmf.training.batch_sampler import count_batches
from ecmf.training.dataset import Dataset
from ecmf.training.early_stopping import EarlyStopping
from ecmf.training.epochs import train_epochs
from ecmf.training.fold_runs import NOTHING_CHOSEN, Chosen
from ecmf.training.model import Model
from ecmf.training.optimizers import make_weight_ema
from ecmf.training.prediction import THREADS
from ecmf.training.task import Targets
from ecmf.training.trainer import Fitted, TrainState, fit, setup
from ecmf.training.vmap_batches import VmapStep, draw_steps, pad_clips
from ecmf.training.vmap_model import (
    VmapLoss,
    clip_gradients,
    predict_logits,
    predict_outputs,
    stack_models,
)

BYTES_PER_GROUP = 1 << 29
"""Limit of the features of one step of all runs; activations take about ten times as much."""

TOLERANCE = 1e-3
"""Largest difference, absolute plus relative, of a model's logits with and without vmap."""

log = logging.getLogger(__name__)


def enabled() -> bool:
    """Return whether to train with vmap: `ECMF_VMAP` (0 or 1), by default only on a GPU.

    Raises:
        UserError: `ECMF_VMAP` has another value.
    """
    value = os.environ.get("ECMF_VMAP", "")
    if value not in ("", "0", "1"):
        raise UserError(
            f"ECMF_VMAP is {value!r}: set it to 1 to train folds and seeds together with vmap, to "
            "0 to train them one at a time, or unset it for the faster choice on the device"
        )
    return value == "1" or (not value and device.requested() != "cpu")


def max_group_size(sources: Sequence[Source], batch_size: int) -> int:
    """Return how many runs fit into a group if every clip of a batch is as long as the longest."""
    numbers = sum(source.dim * int(np.diff(source.starts).max(initial=1)) for source in sources)
    return max(1, BYTES_PER_GROUP // (4 * numbers * batch_size))


def group_runs(batches: Sequence[int], max_size: int) -> list[list[int]]:
    """Group the positions of runs with the same number of `batches` (runs,), up to `max_size`."""
    groups: list[list[int]] = []
    for count in dict.fromkeys(batches):
        equal = [run for run, own in enumerate(batches) if own == count]
        groups += [part.tolist() for part in np.array_split(equal, -(-len(equal) // max_size))]
    return groups


@device.exact_convolutions()
def fit_vmap(
    dataset: Dataset,
    targets: Targets,
    folds: Sequence[Fold],
    seeds: Sequence[int],
    params: TrainFusion,
    chosen: Sequence[Chosen] | None = None,
) -> list[Fitted]:
    """Train one model per pair of fold and seed, like `trainer.fit`.

    A model with a pretext task, or one that vmap does not support, is trained one run at a time.
    """
    torch.set_num_threads(THREADS)
    chosen = chosen or [NOTHING_CHOSEN] * len(folds)
    runs = list(zip(folds, seeds, chosen, strict=True))
    states = [setup(dataset, targets, fold, seed, params, own) for fold, seed, own in runs]
    if reason := _why_not_vmappable(states, dataset, targets, params):
        log.warning("%s is trained one run at a time: %s", params.model, reason)
        return [fit(dataset, targets, fold, seed, params, own) for fold, seed, own in runs]
    torch.manual_seed(seeds[0])
    module = stack_models([state.model for state in states])
    weight_ema = make_weight_ema(module, params)
    evaluated = cast(Model, weight_ema.module) if weight_ema else module
    vmap_loss = VmapLoss(states, dataset, targets, params)
    validation, real = pad_clips([state.validation for state in states], dataset.device)
    truth = [targets.task.target_truth(targets, state.validation) for state in states]

    def loss(step: VmapStep) -> tuple[Tensor, Tensor]:
        return vmap_loss(module, step), step.real.sum(dim=1)

    stopping = [EarlyStopping(params.patience, own.last_epoch) for own in chosen]
    best: dict[int, Mapping[str, Tensor]] = {}
    for totals in train_epochs(
        module, lambda: draw_steps(states, dataset, params), loss, params,
        batches=count_batches(len(states[0].train), params.batch_size),
        epochs=params.epochs,
        after_step=lambda: weight_ema.update_parameters(module) if weight_ema else None,
        clip_gradients=clip_gradients,
    ):  # fmt: skip
        predicted = predict_outputs(evaluated, dataset, validation, real)
        for run, (state, total) in enumerate(zip(states, totals.tolist(), strict=True)):
            if stopping[run].should_stop:
                continue
            own = predicted[run, : len(state.validation)]
            score = targets.task.score(truth[run], own) if len(own) else None
            if stopping[run].update(total / len(state.train), score):
                best[run] = _state_of_run(evaluated, run)
        if all(each.should_stop for each in stopping):
            break
    for run, state in enumerate(states):
        state.model.load_state_dict(best.get(run) or _state_of_run(evaluated, run))
    return [Fitted(state.model, s.history) for state, s in zip(states, stopping, strict=True)]


def _state_of_run(module: Model, run: int) -> Mapping[str, Tensor]:
    return {name: tensor[run].clone() for name, tensor in module.state_dict().items()}


def _why_not_vmappable(
    states: Sequence[TrainState], dataset: Dataset, targets: Targets, params: TrainFusion
) -> str:
    """Return why the models cannot be trained with vmap, or '' if they can.

    Determined by a trial run on the first batch.
    """
    models = [state.model for state in states]
    if any(True for _ in models[0].fusion.pretext_tasks()):
        return "it pretrains without labels first"
    copies = [replace(state, rng=copy.deepcopy(state.rng)) for state in states]
    step = next(draw_steps(copies, dataset, params))
    try:
        module = stack_models(models).train()
        losses = VmapLoss(states, dataset, targets, params)(module, step)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        together = predict_logits(module, dataset, step.clips, step.real)
        with torch.inference_mode():
            alone = [
                model.eval()(dataset.batch(torch.from_numpy(clips))).logits
                for model, clips in zip(models, step.clips, strict=True)
            ]
    except Exception as error:  # an error of the model itself occurs again without vmap
        if device.is_out_of_memory(error):
            raise
        return f"vmap failed ({type(error).__name__}: {str(error).partition(chr(10))[0]})"
    real = step.real
    if not torch.allclose(together[real], torch.stack(alone)[real], TOLERANCE, TOLERANCE):
        return "its outputs differ under vmap"
    return ""
