"""Plan the training runs of a model: one per fold and seed, and one more on all folds of each."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from statistics import median_low
from typing import NamedTuple

from ecmf.data.manifest import Clip
from ecmf.data.splits import Fold, make_folds, refit_fold
from ecmf.params import TrainFusion
from ecmf.training.early_stopping import Epoch


class FoldRun(NamedTuple):
    """One training run: a fold with a seed, and the epoch to stop at if that is given."""

    seed: int
    fold: Fold
    last_epoch: int | None = None

    @property
    def name(self) -> str:
        """Name of the run in files and tables."""
        return f"seed{self.seed}-{self.fold.name}"


class TrainedRun(NamedTuple):
    """A finished run of one ensemble member: its weights on disk, and its epochs."""

    member: str
    run: FoldRun
    weights: Path
    history: list[Epoch]

    @property
    def best(self) -> Epoch:
        """The epoch of the weights: the best on validation clips, or the last without them."""
        if self.history[-1].validation_score is None:
            return self.history[-1]
        return max(self.history, key=lambda epoch: (epoch.validation_score, -epoch.epoch))


def plan_runs(clips: Sequence[Clip], params: TrainFusion) -> list[FoldRun]:
    """List all runs of a model. Folds depend only on the seed, so all models share them."""
    return [
        FoldRun(seed, fold)
        for seed in params.seeds
        for fold in make_folds(clips, params.folds, params.outer_folds, seed)
    ]


def plan_refits(trained: Sequence[TrainedRun]) -> list[FoldRun]:
    """List the runs that train on all inner folds of each seed and outer fold of `trained`.

    With a schedule of as many epochs, they stop at the median of the best epochs of these folds: an
    epoch is chosen by clips that were not trained on, but no clip is spared for it in the end.
    """
    refits = []
    groups = groupby(trained, lambda each: (each.run.seed, each.run.fold.outer_fold))
    for (seed, _), group in groups:
        inner = list(group)
        last_epoch = median_low(each.best.epoch for each in inner)
        refits.append(FoldRun(seed, refit_fold([each.run.fold for each in inner]), last_epoch))
    return refits
