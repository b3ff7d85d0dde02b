"""Plan the training runs of a model: one per fold and seed, and one more on all folds of each."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from statistics import median_low
from typing import NamedTuple

from ecmf.data.manifest import Clip
from ecmf.data.splits import Fold, make_folds, refit_fold
from ecmf.params import TrainFusion
from ecmf.training.early_stopping import Epoch


class SourceValue(NamedTuple):
    """Worth of the decisions on a source alone to clips that were not trained on.

    Attributes:
        weight: Its weight in the models that are trained on all folds; 0 if it is left out.
        fitted: Its weight in late fusion, where those of all sources have a mean of 1.
        low: Lower bound of the 95 % interval of `fitted` over groups.
        high: Upper bound.
        no_say: Share of the resamples of groups in which `fitted` is negligible.
    """

    weight: float
    fitted: float
    low: float
    high: float
    no_say: float


class Chosen(NamedTuple):
    """Choices for a training that were made by clips that were not trained on.

    Attributes:
        last_epoch: The epoch to stop at; None leaves it to early stopping.
        sources: Value of each source; None if the model does not read it. Empty if all are kept.
    """

    last_epoch: int | None = None
    sources: tuple[SourceValue | None, ...] = ()

    @property
    def source_weights(self) -> list[float]:
        """Weight of each source."""
        return [1.0 if value is None else value.weight for value in self.sources]


NOTHING_CHOSEN = Chosen()


class FoldRun(NamedTuple):
    """One training run: a fold with a seed, and what was chosen for it before."""

    seed: int
    fold: Fold
    chosen: Chosen = NOTHING_CHOSEN

    @property
    def name(self) -> str:
        """Name of the run in files and tables."""
        return f"seed{self.seed}-{self.fold.name}"


class TrainedRun(NamedTuple):
    """A finished run of one ensemble member: its weights on disk, their SHA-256, its epochs."""

    member: str
    run: FoldRun
    weights: Path
    digest: str
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


def plan_refits(
    trained: Sequence[TrainedRun], sources: Mapping[int, tuple[SourceValue | None, ...]]
) -> list[FoldRun]:
    """List the runs that train on all inner folds of each seed and outer fold of `trained`.

    With a schedule of as many epochs, they stop at the median of the best epochs of these folds: an
    epoch is chosen by clips that were not trained on, but no clip is spared for it in the end.
    `sources` are the values of the sources by outer fold, measured on the same clips.
    """
    refits = []
    groups = groupby(trained, lambda each: (each.run.seed, each.run.fold.outer_fold))
    for (seed, outer_fold), group in groups:
        inner = list(group)
        last_epoch = median_low(each.best.epoch for each in inner)
        chosen = Chosen(last_epoch, sources.get(outer_fold, ()))
        refits.append(FoldRun(seed, refit_fold([each.run.fold for each in inner]), chosen))
    return refits
