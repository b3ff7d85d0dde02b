"""Models that vote on labels: on labelled clips only of groups that they did not learn from.

A classifier per source of features, and a fusion of all of them, learn from all folds of the
training split but one and vote on that one; the folds are cut by group. Unlabelled clips get the
mean of what the models of all folds say, in later rounds of self-training also models that learned
from their pseudo-labels. Each model's votes are kept in the cache by all that decides them, so a
killed run goes on where it was.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from ecmf.data.features import Source
from ecmf.data.manifest import Clip
from ecmf.data.splits import Fold
from ecmf.errors import ParamsError
from ecmf.execution import code_fingerprint, device, engine, result_cache
from ecmf.execution.process_pool import Failure
from ecmf.execution.recipe import Given, InProcesses
from ecmf.params import RefineLabels, TrainFusion
from ecmf.probabilities import Shares
from ecmf.refinement.base import FUSION, Opinion
from ecmf.storage.files import sha256
from ecmf.storage.store import Layout, Result, Rows
from ecmf.training.cross_validation import read_sources
from ecmf.training.dataset import Dataset
from ecmf.training.targets import Targets
from ecmf.training.trainer import fit, predict

REGULARISATION = 0.01
"""Inverse strength C of the classifiers: few clips, some of them labelled wrongly."""

PACKAGES = ("numpy", "scikit-learn", "scipy", "torch")
"""Whose versions decide a vote to the last bits."""

TRAINING: Mapping[str, object] = {
    "folds": 1,
    "standardise": "corpus",
    "epochs": 30,
    "patience": 10,
    "batch": 64,
    "learning_rate": 3e-3,
    "weight_decay": 0.5,
}
"""How the fusion that votes is trained, as `train_fusion` is by default. Its parameters stand here,
for a vote must not change with every experiment on the training."""

Indices = NDArray[np.int64]
"""Positions of clips in the manifest."""


@dataclass(frozen=True)
class Lesson:
    """What one model learns from, what stops it, and the clips it is asked about.

    `stop` is empty for a classifier, which needs none.
    """

    voter: str
    learn: Indices
    stop: Indices
    asked: Indices


@dataclass(frozen=True)
class Ballot:
    """Lets models vote on clips; what it holds travels to worker processes.

    `targets` says what the clips are taken for; those of weight 0 teach nothing. `pupils` are the
    labelled clips that are learned from and voted on, `others` those that are only voted on.
    """

    paths: Mapping[str, Path]
    clips: Sequence[Clip]
    classes: Sequence[str]
    pupils: Indices
    others: Indices
    params: RefineLabels

    @property
    def voters(self) -> list[str]:
        """Names of the models: one per source of features, and the fusion."""
        return [*self.paths, FUSION]

    @property
    def training(self) -> TrainFusion:
        """How the fusion that votes is trained."""
        return TrainFusion.model_validate({"model": self.params.fusion, **TRAINING})

    @functools.cached_property
    def features(self) -> dict[str, str]:
        """Source -> the hash of its file."""
        return {name: sha256(path) for name, path in self.paths.items()}

    def provenance(self, voter: str) -> dict[str, object]:
        """Say what a voter is."""
        model = (
            self.params.fusion if voter == FUSION else f"logistic regression, C {REGULARISATION}"
        )
        return {"model": model, "folds": self.params.folds, "seed": self.params.seed}

    def opinions(self, targets: Targets) -> dict[str, Opinion]:
        """Let every model learn from `targets` and vote; (pupils and others, classes) each.

        Raises:
            ParamsError: the training split has fewer groups, or no class as many clips, as folds.
        """
        asked = np.concatenate([self.pupils, self.others])
        row = {int(clip): number for number, clip in enumerate(asked)}
        lessons = list(self._lessons(targets))
        votes = {voter: np.zeros((len(asked), len(self.classes))) for voter in self.voters}
        votings = {voter: np.zeros((len(asked), 1)) for voter in self.voters}
        given = [
            Given(f"{one.voter} {number}", self._key(one, targets), functools.partial(_lesson, one))
            for number, one in enumerate(lessons)
        ]
        results = engine.apply(self._recipe(targets), given) or ()
        for lesson, (_, result) in zip(lessons, results, strict=True):
            if isinstance(result, Failure):
                raise RuntimeError(f"{lesson.voter} could not vote: {result.reason}")
            shares = np.asarray(result[0].values)
            rows = [row[int(clip)] for clip in lesson.asked]
            votes[lesson.voter][rows] += shares
            votings[lesson.voter][rows] += shares.any(axis=1, keepdims=True)
        return {
            voter: Opinion(
                "out_of_fold",
                votes[voter] / np.maximum(votings[voter], 1),
                self.provenance(voter),
            )
            for voter in self.voters
        }

    def _lessons(self, targets: Targets) -> Iterator[Lesson]:
        """List who learns from what; pseudo-labelled clips are learned from and judge nothing."""
        pupils = self.pupils[targets.weight[self.pupils] > 0]
        added = self.others[targets.weight[self.others] > 0]
        silent = self.pupils[targets.weight[self.pupils] <= 0]
        for rest, votes in self._cut(pupils, targets, self.params.folds):
            asked = np.concatenate([votes, self._of_groups(silent, votes), self.others])
            own = np.concatenate([rest, self._apart(added, votes)])
            for voter in self.paths:
                yield Lesson(voter, own, own[:0], asked)
            left = len({self.clips[i].group for i in rest})
            inner, stop = next(self._cut(rest, targets, min(self.params.folds, left)))
            learn = np.concatenate([inner, self._apart(added, np.concatenate([votes, stop]))])
            yield Lesson(FUSION, learn, stop, asked)

    def _cut(
        self, among: Indices, targets: Targets, folds: int
    ) -> Iterator[tuple[Indices, Indices]]:
        labels = targets.soft[among].argmax(axis=1)
        groups = [self.clips[i].group for i in among]
        most = min(len(set(groups)), np.bincount(labels, minlength=1).max())
        if most < folds or folds < 2:
            raise ParamsError(
                f"refine_labels.folds is {self.params.folds}, but models would learn from "
                f"{len(set(groups))} groups (speakers, dialogues or films) and {len(among)} clips: "
                "lower it, or choose a refiner that asks no model"
            )
        cut = StratifiedGroupKFold(folds, shuffle=True, random_state=self.params.seed)
        for rest, votes in cut.split(np.zeros(len(among)), labels, groups):
            if len(rest) and len(votes):  # few large groups may leave a fold empty
                yield among[rest], among[votes]

    def _of_groups(self, clips: Indices, votes: Indices) -> Indices:
        groups = {self.clips[i].group for i in votes}
        return np.array([i for i in clips if self.clips[i].group in groups], "int64")

    def _apart(self, clips: Indices, from_: Indices) -> Indices:
        groups = {self.clips[i].group for i in from_}
        return np.array([i for i in clips if self.clips[i].group not in groups], "int64")

    def _key(self, lesson: Lesson, targets: Targets) -> str:
        """Hash what a lesson teaches and asks."""
        learned = np.concatenate([lesson.learn, lesson.stop])
        return result_cache.hashed(
            lesson.voter,
            *(part.tolist() for part in (lesson.learn, lesson.stop, lesson.asked)),
            targets.soft[learned].tolist(),
            targets.weight[learned].tolist(),
        )

    def _recipe(self, targets: Targets) -> InProcesses:
        identity = {
            "features": self.features,
            "clips": result_cache.hashed([[clip.clip_id, clip.speaker] for clip in self.clips]),
            "classes": list(self.classes),
            "training": self.training.model_dump(mode="json"),
            "seed": self.params.seed,
            "device": device.requested().partition(":")[0],
            "code": code_fingerprint.of(
                "ecmf.refinement.out_of_fold",
                *code_fingerprint.modules_of("fusion", self.params.fusion),
            ),
            "versions": {name: version(name) for name in PACKAGES},
        }
        layout = Layout((len(self.classes),), "float64", rate=1.0)
        return InProcesses(
            "votes", (layout,), identity, Voter(self, targets), alone=device.requested() != "cpu"
        )


@dataclass(frozen=True)
class Voter:
    """A lesson in, the model's votes out; every worker process reads the features once."""

    ballot: Ballot
    targets: Targets

    @functools.cached_property
    def sources(self) -> dict[str, Source]:
        """The features by name."""
        clips, paths = self.ballot.clips, dict(self.ballot.paths)
        return {source.name: source for source in read_sources(paths, clips, self.ballot.training)}

    @functools.cached_property
    def means(self) -> dict[str, NDArray[np.float64]]:
        """Mean row of each clip, by source."""
        return {
            name: source.clip_means().astype("float64") for name, source in self.sources.items()
        }

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The features on the device."""
        return Dataset(list(self.sources.values()), torch.device(device.requested()))

    def __call__(self, lesson: Lesson) -> Result:
        """Learn, and vote."""
        vote = self._fusion if lesson.voter == FUSION else self._classifier
        return (Rows(vote(lesson), np.arange(len(lesson.asked), dtype="float64")),)

    def _fusion(self, lesson: Lesson) -> Shares:
        seed = self.ballot.params.seed
        fold = Fold(0, 0, lesson.learn, lesson.stop, lesson.asked)
        fitted = fit(self.dataset, self.targets, fold, seed, self.ballot.training)
        shares = predict(fitted.model, self.dataset, lesson.asked).probabilities.astype("float64")
        seen = np.any([source.present[lesson.asked] for source in self.sources.values()], axis=0)
        return np.asarray(shares * seen[:, None])  # of a clip without any source it knows nothing

    def _classifier(self, lesson: Lesson) -> Shares:
        """Logistic regression on the mean row; no vote on a clip without the source."""
        source, values = self.sources[lesson.voter], self.means[lesson.voter]
        shares = np.zeros((len(lesson.asked), len(self.ballot.classes)))
        learn = lesson.learn[source.present[lesson.learn]]
        labels = self.targets.soft[learn].argmax(axis=1)
        weight, voted = self.targets.weight[learn], source.present[lesson.asked]
        if len(set(labels.tolist())) < 2 or not voted.any():
            return shares
        with threadpool_limits(1):  # the last bits depend on the threads
            classifier = make_pipeline(
                StandardScaler(), LogisticRegression(C=REGULARISATION, max_iter=1000)
            )
            classifier.fit(values[learn], labels, logisticregression__sample_weight=weight)
            columns = classifier.classes_
            shares[np.ix_(voted, columns)] = classifier.predict_proba(values[lesson.asked[voted]])
        return shares


def _lesson(lesson: Lesson) -> Lesson:
    return lesson
