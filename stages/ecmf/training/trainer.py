"""Fit one fusion model: one fold, one seed, one thread.

The same seed gives the same weights on one machine, except on a GPU for models that use `gather`
(cfn_sr, egmf, emma, jmt, mult, qieemo, semmim with one of these): its gradients are summed in any
order. aimdit was also found to differ.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecmf.data.splits import Fold, Indices
from ecmf.errors import ParamsError
from ecmf.execution import device
from ecmf.fusion.base import Batch, Output, SourceShape, Target
from ecmf.params import TrainFusion
from ecmf.training.augmentation import mixup, modality_dropout
from ecmf.training.batch_sampler import count_batches, draw_batches
from ecmf.training.dataset import Dataset
from ecmf.training.early_stopping import EarlyStopping, Epoch
from ecmf.training.epochs import train_epochs
from ecmf.training.fold_runs import NOTHING_CHOSEN, Chosen
from ecmf.training.model import Model, build
from ecmf.training.optimizers import autocast, make_weight_ema
from ecmf.training.prediction import THREADS, predict
from ecmf.training.pretraining import pretrain
from ecmf.training.targets import TargetTensors
from ecmf.training.task import Targets


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


@device.exact_convolutions()
def fit(
    dataset: Dataset,
    targets: Targets,
    fold: Fold,
    seed: int,
    params: TrainFusion,
    chosen: Chosen = NOTHING_CHOSEN,
) -> Fitted:
    """Train on the fold's training clips with early stopping on the score of its validation clips.

    The loss is that of the task. The model of the best validation epoch is returned; a fold
    without validation clips is trained for all epochs, or until the last epoch of `chosen`.

    Raises:
        ParamsError: no training or validation clip of the fold has a weight, or the training
            diverged.
    """
    torch.set_num_threads(THREADS)
    torch.manual_seed(seed)
    state = setup(dataset, targets, fold, seed, params, chosen)
    model, train, validation, rng = state.model, state.train, state.validation, state.rng
    pretrain(model, dataset, np.concatenate([train, fold.unlabelled]), rng, params)

    weight_ema = make_weight_ema(model, params)
    evaluated = cast(Model, weight_ema.module) if weight_ema else model
    tensors = TargetTensors(targets, dataset.device, params.label_smoothing)
    weight = torch.from_numpy(state.weight).to(dataset.device)
    truth = targets.task.target_truth(targets, validation)

    def draw() -> Iterator[Indices]:
        yield from draw_batches(train, dataset.lengths, params.batch_size, rng)

    def loss(chosen: Indices) -> tuple[Tensor, int]:
        clips = torch.from_numpy(chosen)
        batch, target, clip_weight = mixup(
            dataset.batch(clips), tensors.batch(clips), weight[clips], params.mixup, rng
        )
        droppable = model.fusion.input_sources
        return compute_loss(model, batch, target, clip_weight, droppable, params), len(clips)

    stopping = EarlyStopping(params.patience, chosen.last_epoch)
    best_state: dict[str, Tensor] = {}
    for total in train_epochs(
        model, draw, loss, params,
        batches=count_batches(len(train), params.batch_size),
        epochs=params.epochs,
        after_step=lambda: weight_ema.update_parameters(model) if weight_ema else None,
    ):  # fmt: skip
        score = None
        if len(validation):
            predicted = predict(evaluated, dataset, validation).outputs
            score = targets.task.score(truth, predicted)
        if stopping.update(total.item() / len(train), score):
            best_state = copy.deepcopy(evaluated.state_dict())
        if stopping.should_stop:
            break
    if best_state:
        evaluated.load_state_dict(best_state)
    return Fitted(evaluated, stopping.history)


def setup(
    dataset: Dataset,
    targets: Targets,
    fold: Fold,
    seed: int,
    params: TrainFusion,
    chosen: Chosen = NOTHING_CHOSEN,
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
    model = build(targets.task, params, dataset.shapes, seed)
    if chosen.sources:
        model.set_source_weights(chosen.source_weights)
    model.to(dataset.device)
    if params.standardise == "corpus":
        model.set_scale(dataset.moments(train))
    weight = targets.weight
    if params.class_weights:
        weight = weight * targets.task.balance(targets, train)
    rng = np.random.default_rng([seed, fold.outer_fold, fold.fold % 2**32])  # REFIT is negative
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
    with autocast(weight.device, params):
        output = model(modality_dropout(batch, params.modality_dropout, droppable), target)
    losses = target.loss(output.logits.float()) + sum(output.losses.values())
    return (losses * weight).sum() / weight.sum()
