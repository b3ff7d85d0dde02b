"""What the trained models say of every clip: of labelled ones only where they did not learn them.

Of an unlabelled clip all models speak, also those that learned from its pseudo-label: they repeat
what they were taught. Such clips are those of decision `added` in `data/labels.csv`; none is scored
or votes.

Members vote round by round: how, is fitted on the clips that only stopped the trainings of that
very round, and holds for those that its trainings had nothing to do with.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ecmf.data.features import Source
from ecmf.data.manifest import Clip
from ecmf.evaluation.ensembling import Vote, check_votes, fit_vote
from ecmf.execution import device
from ecmf.params import EvaluateFusion
from ecmf.training.cross_validation import Run, load_model, plan
from ecmf.training.dataset import Dataset
from ecmf.training.model_metadata import Card, weights_of
from ecmf.training.trainer import Said, predict

log = logging.getLogger(__name__)

Probabilities = NDArray[np.float64]
"""(clips, classes); rows of NaN where no model may speak of the clip."""

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Spoken:
    """What is said of each clip, in manifest order.

    `test` is for clips that no training had anything to do with: the test split, and whatever else
    took no part (the validation split where folds were cut from the training split, candidates),
    and for unlabelled clips, pseudo-labelled or not. `held_out` is for clips of the training split,
    by the models they only stopped.
    """

    test: Probabilities
    held_out: Probabilities

    @property
    def best(self) -> Probabilities:
        """The one that tells most: `test`, or where there is none `held_out`."""
        return np.where(np.isnan(self.test), self.held_out, self.test)


@dataclass(frozen=True)
class Predictions:
    """Means over folds and seeds; `test_by_seed` is the joint one of each seed over its folds.

    `joint` is what all members say together by their `votes` of each seed and round, `members` what
    each says alone. `weights` (clips, sources) says how much each source counted, `valence` is
    (clips, 1): means over the models that know. Of valence only those know that learned from one.
    Weights are those of folds and seeds of one member: each member weighs in its own way, shares or
    gates or attention, and a mean over them would mean nothing, so that several say none. `read`
    are the names of the sources that decide anything: one may only teach.
    """

    joint: Spoken
    test_by_seed: dict[int, Probabilities]
    members: dict[str, Spoken]
    votes: dict[str, Vote]
    weights: Probabilities
    valence: Spoken
    read: set[str]


def predict_all(
    folder: Path,
    card: Card,
    clips: Sequence[Clip],
    sources: Sequence[Source],
    params: EvaluateFusion,
) -> Predictions:
    """Ask every model of `folder` about the clips it may speak of.

    Raises:
        ParamsError: votes are to be fitted on validation clips, and the training left none.
    """
    check_votes(params, card.training)
    where = torch.device(device.requested())
    log.info("predicting on %s", where)
    dataset = Dataset(sources, where)
    count, classes, seeds = len(clips), len(card.classes), card.training.seeds

    valence_clips = {
        (member.name, run.name): run.valence_clips for member in card.members for run in member.runs
    }

    read: set[str] = set()

    def ask(member: str, run: Run, asked: Indices) -> Said:
        training, weights = card.training.of_member(member), weights_of(folder, member, run.name)
        model = load_model(weights, training, sources, classes, where)
        read.update(source.name for source in model.fusion.read)
        said = predict(model, dataset, asked)
        return said if valence_clips[member, run.name] else said._replace(valence=None)

    members = {
        name: {seed: _Means(count, classes) for seed in seeds} for name in card.training.members
    }
    joint = {seed: _Means(count, classes) for seed in seeds}
    weights, valence, votes = _Mean(count, len(sources)), _Means(count, 1), {}
    runs = groupby(plan(clips, card.training), lambda run: (run.seed, run.fold.round))
    for (seed, number), group in runs:
        own = {name: _Means(count, classes) for name in members}
        validation = np.array([], "int64")
        for run in group:
            outside = np.setdiff1d(
                np.arange(count), np.union1d(run.fold.train, run.fold.validation)
            )
            validation = np.union1d(validation, run.fold.validation)
            asked = np.concatenate([outside, run.fold.validation])
            for name, means in own.items():
                said = ask(name, run, asked)
                means.add(asked, said.probabilities, len(outside))
                if said.weights is not None and len(members) == 1:
                    weights.add(asked, said.weights)
                if said.valence is not None:
                    valence.add(asked, said.valence[:, None], len(outside))
        spoken = {name: means.values() for name, means in own.items()}
        truth = np.array([card.classes.index(clips[i].label) for i in validation], "int64")
        vote = fit_vote([one.held_out[validation] for one in spoken.values()], truth, params)
        votes[f"seed{seed}-round{number}"] = vote
        joint[seed].add_spoken(
            Spoken(
                vote([one.test for one in spoken.values()]),
                vote([one.held_out for one in spoken.values()]),
            )
        )
        for name, one in spoken.items():
            members[name][seed].add_spoken(one)
    return Predictions(
        joint=_over_seeds(joint),
        test_by_seed={seed: means.values().test for seed, means in joint.items()},
        members={name: _over_seeds(by_seed) for name, by_seed in members.items()},
        votes=votes,
        weights=weights.values(),
        valence=valence.values(),
        read=read,
    )


class _Mean:
    """A mean that grows row by row; what is NaN is not counted."""

    def __init__(self, rows: int, columns: int) -> None:
        self._sum = np.zeros((rows, columns))
        self._count = np.zeros((rows, 1))

    def add(self, rows: Indices, values: NDArray[np.floating]) -> None:
        known = ~np.isnan(values).any(axis=1)
        self._sum[rows[known]] += values[known]
        self._count[rows[known]] += 1

    def values(self) -> Probabilities:
        known = self._count > 0
        return np.where(known, self._sum / np.maximum(self._count, 1), np.nan)


class _Means:
    """The two means of `Spoken`."""

    def __init__(self, rows: int, columns: int) -> None:
        self._everyone = np.arange(rows)
        self._test, self._held_out = _Mean(rows, columns), _Mean(rows, columns)

    def add(self, asked: Indices, values: NDArray[np.floating], outside: int) -> None:
        """Add what a model says; the first `outside` of the clips had nothing to do with it."""
        self._test.add(asked[:outside], values[:outside])
        self._held_out.add(asked[outside:], values[outside:])

    def add_spoken(self, spoken: Spoken) -> None:
        self._test.add(self._everyone, spoken.test)
        self._held_out.add(self._everyone, spoken.held_out)

    def values(self) -> Spoken:
        return Spoken(self._test.values(), self._held_out.values())


def _over_seeds(by_seed: Mapping[int, _Means]) -> Spoken:
    spoken = [means.values() for means in by_seed.values()]
    mean = _Means(*spoken[0].test.shape)
    for one in spoken:
        mean.add_spoken(one)
    return mean.values()
