"""Fit one fusion model: one fold, one seed, one thread.

The same seed gives the same weights on one machine, except on a GPU for models that use `gather`
(egmf, emma, jmt, mult, qieemo, semmim with one of these): there its gradients are summed in any
order. aimdit was also found to differ.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ecmf.data.splits import Fold, Indices
from ecmf.errors import ParamsError
from ecmf.execution import device
from ecmf.fusion.base import Batch, Output, SourceShape, Target
from ecmf.metrics import weighted_f1
from ecmf.params import TrainFusion
from ecmf.training.augmentation import mixup, modality_dropout
from ecmf.training.batch_sampler import count_batches, draw_batches
from ecmf.training.dataset import Dataset
from ecmf.training.early_stopping import EarlyStopping, Epoch
from ecmf.training.model import Model, build
from ecmf.training.optimizers import (
    autocast,
    make_optimizer,
    make_schedule,
    make_weight_ema,
    take_step,
)
from ecmf.training.pretraining import pretrain
from ecmf.training.targets import Targets

CLIPS_PER_PREDICTION = 512

THREADS = 1
"""Threads of one training on any machine: their number affects the last bits of a sum.

Each core runs one training (`cross_validation`)."""


@dataclass(frozen=True)
class TrainState:
    """One training before its first epoch: the initial model, and the clips of its fold.

    `weight` are the sample weights of all clips, (clips,); `rng` draws the batches and the mixup.
    """

    model: Model
    train: Indices
    validation: Indices
    weight: NDArray[np.float32]
    rng: np.random.Generator


@dataclass(frozen=True)
class Fitted:
    """The model of the best epoch (without validation clips: of the last), and all epochs."""

    model: Model
    history: Sequence[Epoch]


class Prediction(NamedTuple):
    """Probabilities (clips, classes), source weights (clips, sources) and valence (clips,).

    Weights and valence are None if the model does not predict them.
    """

    probabilities: NDArray[np.float32]
    weights: NDArray[np.float32] | None
    valence: NDArray[np.float32] | None


@device.exact_convolutions()
def fit(dataset: Dataset, targets: Targets, fold: Fold, seed: int, params: TrainFusion) -> Fitted:
    """Train on the fold's training clips with early stopping on its validation WAF.

    AdamW, cross entropy against soft labels. The model of the best validation epoch is returned; a
    fold without validation clips is trained for all epochs.

    Raises:
        ParamsError: no training or validation clip of the fold has a weight, or the training
            diverged.
    """
    torch.set_num_threads(THREADS)
    torch.manual_seed(seed)
    state = setup(dataset, targets, fold, seed, params)
    model, train, validation, rng = state.model, state.train, state.validation, state.rng
    pretrain(model, dataset, np.concatenate([train, fold.unlabelled]), rng, params)

    optimizer = make_optimizer(model, params)
    schedule = make_schedule(optimizer, count_batches(len(train), params.batch_size), params)
    weight_ema = make_weight_ema(model, params)
    evaluated = cast(Model, weight_ema.module) if weight_ema else model
    class_probs = torch.from_numpy(targets.class_probs).to(dataset.device)
    valence = torch.from_numpy(targets.valence_or_nan()).to(dataset.device)
    weight = torch.from_numpy(state.weight).to(dataset.device)
    truth = targets.class_probs[validation].argmax(axis=1)

    stopping, best_state = EarlyStopping(params.patience), {}
    while len(stopping.history) < params.epochs and not stopping.should_stop:
        model.train()
        total = torch.zeros((), device=dataset.device)
        for chosen in draw_batches(train, dataset.lengths, params.batch_size, rng):
            clips = torch.from_numpy(chosen)
            target = Target(class_probs[clips], valence[clips])
            batch, target, clip_weight = mixup(
                dataset.batch(clips), target, weight[clips], params.mixup, rng
            )
            loss = compute_loss(
                model, batch, target, clip_weight, model.fusion.input_sources, params
            )
            take_step(model, loss, optimizer, params)
            schedule.step()
            if weight_ema:
                weight_ema.update_parameters(model)
            total += loss.detach() * len(clips)
        score = None
        if len(validation):
            predicted = predict(evaluated, dataset, validation).probabilities.argmax(axis=1)
            score = weighted_f1(truth, predicted)
        if stopping.update(total.item() / len(train), score):
            best_state = copy.deepcopy(evaluated.state_dict())
    if best_state:
        evaluated.load_state_dict(best_state)
    return Fitted(evaluated, stopping.history)


def setup(
    dataset: Dataset, targets: Targets, fold: Fold, seed: int, params: TrainFusion
) -> TrainState:
    """Build the model of a fold and a seed, and select its clips and their weights.

    Raises:
        ParamsError: no training or validation clip of the fold has a weight.
    """
    train = fold.train[targets.weight[fold.train] > 0]
    validation = fold.validation[targets.weight[fold.validation] > 0]
    if not len(train) or (len(fold.validation) and not len(validation)):
        raise ParamsError(
            f"{fold.name} has {len(train)} training and {len(validation)} validation clips left: "
            "all others have weight 0 in the labels. Choose fewer folds, or drop fewer labels"
        )
    options = params.options.get(params.model, {})
    model = build(params.model, options, dataset.shapes, targets.class_probs.shape[1], seed)
    model.to(dataset.device)
    if params.standardise == "corpus":
        model.set_scale(dataset.moments(train))
    weight = targets.weight * class_weights(targets, train, params.class_weights)
    rng = np.random.default_rng([seed, fold.outer_fold, fold.fold])
    return TrainState(model, train, validation, weight, rng)


def compute_loss(
    model: Callable[[Batch, Target], Output],
    batch: Batch,
    target: Target,
    weight: Tensor,
    droppable: Sequence[SourceShape],
    params: TrainFusion,
) -> Tensor:
    """Return the mean loss of a batch, weighted by `weight` (clips,): a scalar.

    Only `droppable` sources are subject to modality dropout.
    """
    uniform = torch.full_like(target.class_probs, 1 / target.class_probs.shape[-1])
    target = target._replace(class_probs=target.class_probs.lerp(uniform, params.label_smoothing))
    with autocast(weight.device, params):
        output = model(modality_dropout(batch, params.modality_dropout, droppable), target)
    losses = functional.cross_entropy(output.logits.float(), target.class_probs, reduction="none")
    losses = losses + sum(output.losses.values())
    return (losses * weight).sum() / weight.sum()


@device.exact_convolutions()
@torch.inference_mode()
def predict(model: Model, dataset: Dataset, clips: Indices) -> Prediction:
    """Predict the clips at these positions."""
    torch.set_num_threads(THREADS)
    model.eval()
    probabilities, weights, valence = [], [], []
    for part in torch.split(torch.from_numpy(clips), CLIPS_PER_PREDICTION):
        output = model(dataset.batch(part))
        probabilities.append(output.logits.softmax(dim=1).cpu().numpy())
        if output.weights is not None:
            weights.append(output.weights.cpu().numpy())
        if output.valence is not None:
            valence.append(output.valence.cpu().numpy())
    return Prediction(
        np.concatenate(probabilities),
        np.concatenate(weights) if weights else None,
        np.concatenate(valence) if valence else None,
    )


def class_weights(targets: Targets, train: Indices, enabled: bool) -> NDArray[np.float32]:
    """Return a weight per clip that gives every class the same total; ones if not `enabled`."""
    if not enabled:
        return np.ones(len(targets.weight), "float32")
    mass = (targets.class_probs[train] * targets.weight[train, None]).sum(axis=0)
    per_class = np.where(mass > 0, mass.sum() / np.maximum(mass, 1e-9) / (mass > 0).sum(), 0)
    return np.asarray(targets.class_probs @ per_class, "float32")
