"""Fit one fusion model: one fold, one seed, one thread.

The same seed gives the same weights on one machine, whatever else runs beside it.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ecmf.dataset import Dataset
from ecmf.errors import ParamsError
from ecmf.fusion.base import Batch, Target
from ecmf.model import Model, build
from ecmf.params import TrainFusion
from ecmf.scores import weighted_f1
from ecmf.splits import Fold

CLIPS_PER_PREDICTION = 512


@dataclass(frozen=True)
class Targets:
    """What the clips are to be: a distribution (clips, classes), and how much each counts (clips,).

    A clip of weight 0 is not learned from.
    """

    soft: NDArray[np.float32]
    weight: NDArray[np.float32]
    valence: NDArray[np.float32] | None = None

    def of_valence(self) -> NDArray[np.float32]:
        """Return the valence of each clip, (clips,); NaN where it is not known."""
        if self.valence is None:
            return np.full(len(self.weight), np.nan, "float32")
        return self.valence


class Epoch(NamedTuple):
    """One line of the training's history."""

    epoch: int
    train_loss: float
    validation_waf: float


@dataclass(frozen=True)
class Fitted:
    """The model of the best epoch, and how it came to be."""

    model: Model
    history: Sequence[Epoch]


def fit(dataset: Dataset, targets: Targets, fold: Fold, seed: int, params: TrainFusion) -> Fitted:
    """Train on the fold's training clips; stop when its validation WAF no longer gains.

    AdamW, cross entropy against soft labels; the model of the best validation epoch is kept.
    """
    torch.set_num_threads(1)  # the order of a sum, and so its last bits, depends on the threads
    torch.manual_seed(seed)
    device = dataset.device
    train = fold.train[targets.weight[fold.train] > 0]
    model = build(
        params.model,
        params.options.get(params.model, {}),
        dataset.shapes,
        targets.soft.shape[1],
        seed,
    ).to(device)
    if params.standardise == "corpus":
        model.set_scale(dataset.moments(train))
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=params.learning_rate, weight_decay=params.weight_decay, fused=True
    )
    steps = -(-len(train) // params.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, params.learning_rate, epochs=params.epochs, steps_per_epoch=steps
    )
    soft = torch.from_numpy(targets.soft).to(device)
    weight = torch.from_numpy(targets.weight * _balance(targets, train, params.class_weights)).to(
        device
    )
    valence = torch.from_numpy(targets.of_valence()).to(device)
    uniform = torch.full_like(soft[0], 1 / soft.shape[1])
    judged = fold.validation[targets.weight[fold.validation] > 0]
    if not len(judged) or not len(train):
        raise ParamsError(
            f"{fold.name} has {len(train)} clips to learn from and {len(judged)} to stop at: the "
            "others have no weight in the labels. Choose fewer folds, or drop fewer labels"
        )
    truth = targets.soft[judged].argmax(axis=1)
    order = np.random.default_rng([seed, fold.round, fold.fold])

    history: list[Epoch] = []
    best: Epoch | None = None
    best_state = {}
    for number in range(1, params.epochs + 1):
        model.train()
        total = 0.0
        for clips in _batches(order.permutation(train), params.batch):
            batch, target, counts = _mix(
                dataset.batch(clips),
                Target(soft[clips], valence[clips]),
                weight[clips],
                params.mixup,
                order,
            )
            target = target._replace(soft=target.soft.lerp(uniform, params.label_smoothing))
            output = model(_drop_sources(batch, params.modality_dropout), target)
            losses = functional.cross_entropy(output.logits, target.soft, reduction="none")
            losses = losses + sum(output.losses.values())
            loss = (losses * counts).sum() / counts.sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item() * len(clips)
        predicted = predict(model, dataset, judged)[0].argmax(axis=1)
        epoch = Epoch(number, total / len(train), weighted_f1(truth, predicted))
        history.append(epoch)
        if best is None or epoch.validation_waf > best.validation_waf:
            best, best_state = epoch, copy.deepcopy(model.state_dict())
        elif number - best.epoch >= params.patience:
            break
    model.load_state_dict(best_state)
    return Fitted(model, history)


@torch.inference_mode()
def predict(
    model: Model, dataset: Dataset, clips: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Probabilities (clips, classes), and the weights of the sources (clips, sources) if known."""
    torch.set_num_threads(1)  # as in `fit`: the last bits depend on it
    model.eval()
    probabilities, weights = [], []
    for part in _batches(clips, CLIPS_PER_PREDICTION):
        output = model(dataset.batch(part))
        probabilities.append(output.logits.softmax(dim=1).cpu().numpy())
        if output.weights is not None:
            weights.append(output.weights.cpu().numpy())
    return np.concatenate(probabilities), np.concatenate(weights) if weights else None


def _batches(clips: NDArray[np.int64], count: int) -> Iterator[Tensor]:
    return iter(torch.split(torch.from_numpy(clips), count))


def _mix(
    batch: Batch, target: Target, weight: Tensor, alpha: float, chance: np.random.Generator
) -> tuple[Batch, Target, Tensor]:
    """Blend each clip with another of the batch, label and weight too (mixup, arXiv 1710.09412).

    The share of the other clip is drawn from Beta(alpha, alpha), once per batch. A row that only
    one of the two clips has stays as it is.
    """
    if not alpha:
        return batch, target, weight
    share = float(chance.beta(alpha, alpha))
    other = torch.from_numpy(chance.permutation(len(weight))).to(weight.device)
    rows = {
        name: torch.where(
            (batch.masks[name] & batch.masks[name][other])[..., None],
            torch.lerp(values, values[other], share),
            values,
        )
        for name, values in batch.rows.items()
    }
    mixed = Batch(rows, batch.masks)
    blended = Target(*(part.lerp(part[other], share) for part in target))
    return mixed, blended, weight.lerp(weight[other], share)


def _drop_sources(batch: Batch, share: float) -> Batch:
    """Hide each source of each clip with probability `share`, but never all that a clip has."""
    if not share:
        return batch
    present = batch.present()
    keep = torch.rand(present.shape, device=present.device) >= share
    keep |= ~(keep & present).any(dim=1, keepdim=True)
    masks = {
        name: mask & keep[:, number, None]
        for number, (name, mask) in enumerate(batch.masks.items())
    }
    return Batch(batch.rows, masks)


def _balance(targets: Targets, train: NDArray[np.int64], wanted: bool) -> NDArray[np.float32]:
    """Weight of each clip that makes every class count alike, or ones."""
    if not wanted:
        return np.ones(len(targets.weight), "float32")
    mass = (targets.soft[train] * targets.weight[train, None]).sum(axis=0)
    per_class = np.where(mass > 0, mass.sum() / np.maximum(mass, 1e-9) / (mass > 0).sum(), 0)
    return np.asarray(targets.soft @ per_class, "float32")
