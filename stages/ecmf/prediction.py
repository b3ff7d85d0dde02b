"""What the trained models say of every clip: only of clips they did not learn from."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ecmf import device
from ecmf.card import Card
from ecmf.dataset import Dataset
from ecmf.features import Source
from ecmf.manifest import Clip
from ecmf.runs import load_model, plan
from ecmf.training import predict

log = logging.getLogger(__name__)

Probabilities = NDArray[np.float64]
"""(clips, classes); rows of NaN where no model may speak of the clip."""


@dataclass(frozen=True)
class Predictions:
    """Mean over folds and seeds, and per seed the mean over folds, in manifest order.

    `test` is for clips that no training had anything to do with: the test split, and whatever else
    took no part (the validation split where folds were cut from the training split, candidates,
    unlabelled clips). `held_out` is for clips of the training split, by the models they only
    stopped. `weights` (clips, sources) says how much each source counted; NaN if the model does not
    know.
    """

    test: Probabilities
    held_out: Probabilities
    test_by_seed: dict[int, Probabilities]
    weights: Probabilities


def predict_all(
    folder: Path, card: Card, clips: Sequence[Clip], sources: Sequence[Source]
) -> Predictions:
    """Ask every model of `folder` about the clips it may speak of."""
    where = torch.device(device.requested())
    log.info("predicting on %s", where)
    dataset = Dataset(sources, where)
    everyone = np.arange(len(clips))
    test = {seed: _Mean(len(clips), len(card.classes)) for seed in card.training.seeds}
    held_out = _Mean(len(clips), len(card.classes))
    weighed = _Mean(len(clips), len(sources))
    for run in plan(clips, card.training):
        model = load_model(
            folder / f"{run.name}.safetensors", card.training, sources, len(card.classes), where
        )
        outside = np.setdiff1d(everyone, np.union1d(run.fold.train, run.fold.validation))
        asked = np.concatenate([outside, run.fold.validation])
        probabilities, weights, _ = predict(model, dataset, asked)
        test[run.seed].add(outside, probabilities[: len(outside)])
        held_out.add(run.fold.validation, probabilities[len(outside) :])
        if weights is not None:
            weighed.add(asked, weights)
    by_seed = {seed: mean.values() for seed, mean in test.items()}
    return Predictions(
        test=np.mean(list(by_seed.values()), axis=0),
        held_out=held_out.values(),
        test_by_seed=by_seed,
        weights=weighed.values(),
    )


class _Mean:
    """A mean that grows row by row."""

    def __init__(self, rows: int, columns: int) -> None:
        self._sum = np.zeros((rows, columns))
        self._count = np.zeros((rows, 1))

    def add(self, rows: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        self._sum[rows] += values
        self._count[rows] += 1

    def values(self) -> Probabilities:
        known = self._count > 0
        return np.where(known, self._sum / np.maximum(self._count, 1), np.nan)
