"""Fit one fusion model: one fold, one seed, one thread.

The same seed gives the same weights on one machine, whatever else runs beside it. On a GPU not so
for members that pick steps by their place (`gather`: egmf, emma, jmt, mult, qieemo, and semmim
around one of them), whose gradients are added up in any order there; aimdit was seen to differ too.
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

from ecmf.data.splits import Fold
from ecmf.errors import ParamsError
from ecmf.execution import device
from ecmf.fusion.base import Batch, Output, SourceShape, Target
from ecmf.metrics import weighted_f1
from ecmf.params import TrainFusion
from ecmf.training.augmentation import mixed, with_hidden_sources
from ecmf.training.batch_sampler import batched, count_batches
from ecmf.training.dataset import Dataset
from ecmf.training.early_stopping import Course, Epoch
from ecmf.training.model import Model, build
from ecmf.training.optimizers import make_average, make_optimiser, make_schedule, precision, step
from ecmf.training.pretraining import practise
from ecmf.training.targets import Targets

CLIPS_PER_PREDICTION = 512

THREADS = 1
"""Of one training, whatever the machine: they decide the order of a sum, and so its last bits.

As many trainings run side by side as there are cores (`runs.py`), which leaves each of them one.
"""


@dataclass(frozen=True)
class Start:
    """One training before its first epoch.

    `train` are the clips it learns from, `judged` those that stop it, `weight` (clips,) says how
    much each counts, and `chance` draws its batches and its mixup.
    """

    model: Model
    train: NDArray[np.int64]
    judged: NDArray[np.int64]
    weight: NDArray[np.float32]
    chance: np.random.Generator


@dataclass(frozen=True)
class Fitted:
    """The model of the best epoch, or of the last where nothing judges, and how it came to be."""

    model: Model
    history: Sequence[Epoch]


class Said(NamedTuple):
    """What a model says of clips: probabilities (clips, classes), and what else it knows.

    `weights` (clips, sources) says how much each source counted, `valence` is (clips,).
    """

    probabilities: NDArray[np.float32]
    weights: NDArray[np.float32] | None
    valence: NDArray[np.float32] | None


@device.exact_convolutions()
def fit(dataset: Dataset, targets: Targets, fold: Fold, seed: int, params: TrainFusion) -> Fitted:
    """Train on the fold's training clips; stop when its validation WAF no longer gains.

    AdamW, cross entropy against soft labels. The model of the best validation epoch is kept; a fold
    without validation clips is trained for all the epochs.

    Raises:
        ParamsError: the labels leave a fold nobody to learn from or to stop at.
    """
    torch.set_num_threads(THREADS)
    torch.manual_seed(seed)
    where = dataset.device
    start = begin(dataset, targets, fold, seed, params)
    model, train, judged, chance = start.model, start.train, start.judged, start.chance
    practise(model, dataset, np.concatenate([train, fold.unlabelled]), chance, params)

    optimiser = make_optimiser(model, params)
    schedule = make_schedule(optimiser, count_batches(len(train), params.batch), params)
    averaged = make_average(model, params)
    kept = cast(Model, averaged.module) if averaged else model
    soft = torch.from_numpy(targets.soft).to(where)
    valence = torch.from_numpy(targets.of_valence()).to(where)
    weight = torch.from_numpy(start.weight).to(where)
    truth = targets.soft[judged].argmax(axis=1)

    course, best_state = Course(params.patience), {}
    while len(course.history) < params.epochs and not course.over:
        model.train()
        total = torch.zeros((), device=where)
        for chosen in batched(train, dataset.lengths, params.batch, chance):
            clips = torch.from_numpy(chosen)
            batch, target, counts = mixed(
                dataset.batch(clips),
                Target(soft[clips], valence[clips]),
                weight[clips],
                params.mixup,
                chance,
            )
            loss = loss_of(model, batch, target, counts, model.fusion.read, params)
            step(model, loss, optimiser, params)
            schedule.step()
            if averaged:
                averaged.update_parameters(model)
            total += loss.detach() * len(clips)
        score = None
        if len(judged):
            predicted = predict(kept, dataset, judged).probabilities.argmax(axis=1)
            score = weighted_f1(truth, predicted)
        if course.add(total.item() / len(train), score):
            best_state = copy.deepcopy(kept.state_dict())
    if best_state:
        kept.load_state_dict(best_state)
    return Fitted(kept, course.history)


def begin(dataset: Dataset, targets: Targets, fold: Fold, seed: int, params: TrainFusion) -> Start:
    """Build the model of a fold and a seed, and say what it is to learn from.

    Raises:
        ParamsError: the labels leave the fold nobody to learn from or to stop at.
    """
    train = fold.train[targets.weight[fold.train] > 0]
    judged = fold.validation[targets.weight[fold.validation] > 0]
    if not len(train) or (len(fold.validation) and not len(judged)):
        raise ParamsError(
            f"{fold.name} has {len(train)} clips to learn from and {len(judged)} to stop at: the "
            "others have no weight in the labels. Choose fewer folds, or drop fewer labels"
        )
    options = params.options.get(params.model, {})
    model = build(params.model, options, dataset.shapes, targets.soft.shape[1], seed)
    model.to(dataset.device)
    if params.standardise == "corpus":
        model.set_scale(dataset.moments(train))
    weight = targets.weight * balance(targets, train, params.class_weights)
    chance = np.random.default_rng([seed, fold.round, fold.fold])
    return Start(model, train, judged, weight, chance)


def loss_of(
    model: Callable[[Batch, Target], Output],
    batch: Batch,
    target: Target,
    counts: Tensor,
    read: Sequence[SourceShape],
    params: TrainFusion,
) -> Tensor:
    """Return what is minimised on a batch whose clips count `counts` (clips,): one number.

    `read` are the sources that may be hidden.
    """
    uniform = torch.full_like(target.soft, 1 / target.soft.shape[-1])
    target = target._replace(soft=target.soft.lerp(uniform, params.label_smoothing))
    with precision(counts.device, params):
        output = model(with_hidden_sources(batch, params.modality_dropout, read), target)
    losses = functional.cross_entropy(output.logits.float(), target.soft, reduction="none")
    losses = losses + sum(output.losses.values())
    return (losses * counts).sum() / counts.sum()


@device.exact_convolutions()
@torch.inference_mode()
def predict(model: Model, dataset: Dataset, clips: NDArray[np.int64]) -> Said:
    """Ask the model about the clips at these positions."""
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
    return Said(
        np.concatenate(probabilities),
        np.concatenate(weights) if weights else None,
        np.concatenate(valence) if valence else None,
    )


def balance(targets: Targets, train: NDArray[np.int64], wanted: bool) -> NDArray[np.float32]:
    """Weight of each clip that makes every class count alike, or ones."""
    if not wanted:
        return np.ones(len(targets.weight), "float32")
    mass = (targets.soft[train] * targets.weight[train, None]).sum(axis=0)
    per_class = np.where(mass > 0, mass.sum() / np.maximum(mass, 1e-9) / (mass > 0).sum(), 0)
    return np.asarray(targets.soft @ per_class, "float32")
