"""Tune a fusion on clips held out of each training part, and predict the clips of the test folds.

Every fusion has the same few candidates, on every test fold anew: each is trained with one seed on
half of the training part, cut by group, for all epochs, and the one with the highest WAF on the
other half is trained on the whole training part with all seeds. No clip of a test fold chooses
anything for the models that predict it; so all seeds have the folds of the first. Finished
trainings are cached.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from support.comparison import Confusions, TestProbabilities
from support.corpora import Corpus

from ecmf.data.splits import EMPTY, Fold
from ecmf.execution import result_cache
from ecmf.metrics import waf_of_confusion
from ecmf.params import TrainFusion
from ecmf.training.dataset import Dataset
from ecmf.training.fold_runs import FoldRun, plan_runs
from ecmf.training.model import load_model
from ecmf.training.prediction import predict
from ecmf.training.run_trainer import RunTrainer
from ecmf.training.source_reading import read_sources
from ecmf.training.training_cache import inputs_hash, prune_checkpoints, training_hash
from ecmf.training.weight_files import read_weights

CANDIDATES: Sequence[Mapping[str, object]] = (
    {},
    {"learning_rate": 1e-3},
    {"modality_dropout": 0.3},
)
"""Changes of the training parameters that every fusion understands, the first of them none."""

CACHE = "compare_fusion"
"""Folder of the finished trainings. Those of the stage have the same names with other folds."""

INNER = 1
"""Number of the folds that hold out clips of a training part; the others have 0."""


class Trainings:
    """The trainings of one fusion on one corpus."""

    def __init__(self, corpus: Corpus, name: str) -> None:
        """Read the sources; the training parameters are those of the corpus."""
        self.corpus = corpus
        self.params = corpus.training.of_member(name)
        self.sources = read_sources(dict(corpus.paths), corpus.clips, self.params)
        self.cache = result_cache.root_folder() / CACHE
        prune_checkpoints(self.cache)

    @cached_property
    def _inputs(self) -> str:
        return inputs_hash(dict(self.corpus.paths), self.corpus.clips, self.corpus.targets)

    @cached_property
    def dataset(self) -> Dataset:
        """The features, in memory."""
        return Dataset(self.sources, torch.device("cpu"))

    def runs(self) -> list[FoldRun]:
        """Return the runs that predict the test folds, which are the same for every seed."""
        seeds = self.params.seeds
        return [run._replace(seed=seed) for run in self._plan(folds=0) for seed in seeds]

    def inner_runs(self) -> list[FoldRun]:
        """Return a run per test fold that trains on half of its training part, to test the rest."""
        return [
            run._replace(
                fold=Fold(run.fold.outer_fold, INNER, run.fold.train, EMPTY, run.fold.validation)
            )
            for run in self._plan(folds=2)
            if run.fold.fold == 0
        ]

    def _plan(self, folds: int) -> list[FoldRun]:
        changes = {"folds": folds, "seeds": self.params.seeds[:1]}
        return plan_runs(self.corpus.clips, self.params.model_copy(update=changes))

    def predict(self, run: FoldRun, params: TrainFusion) -> NDArray[np.float32]:
        """Train a run, or read it from the cache, and predict its test clips, (clips, classes)."""
        clips, targets = self.corpus.clips, self.corpus.targets
        folder = self.cache / training_hash(self._inputs, params)
        (trained,) = RunTrainer(self.sources, clips, targets, params, folder)([run])
        weights, _ = read_weights(trained.weights, trained.digest, "run again")
        device = torch.device("cpu")
        model = load_model(weights, params, self.sources, targets.task, device)
        return predict(model, self.dataset, run.fold.test).outputs

    def predict_inner(self, params: TrainFusion) -> list[NDArray[np.float32]]:
        """Predict the held-out clips of each inner run."""
        return [self.predict(run, params) for run in self.inner_runs()]

    def count_inner(self, probs: Sequence[NDArray[np.float32]]) -> Confusions:
        """Count the predictions of the inner runs, one after the other in the place of seeds."""
        clips, classes = self.corpus.clips, len(self.corpus.classes)
        truth = self.corpus.targets.values["class_probs"].argmax(axis=1)
        groups = {name: i for i, name in enumerate(sorted({clip.group for clip in clips}))}
        cells = np.zeros((len(probs), len(groups), classes, classes), "int64")
        for number, (run, values) in enumerate(zip(self.inner_runs(), probs, strict=True)):
            for clip, predicted in zip(run.fold.test, values.argmax(axis=1), strict=True):
                cells[number, groups[clips[clip].group], truth[clip], predicted] += 1
        return cells

    def tune(self) -> dict[int, TrainFusion]:
        """Return the candidate chosen for each test fold."""
        tried = [self.params.model_copy(update=dict(change)) for change in CANDIDATES]
        cells = [self.count_inner(self.predict_inner(params)) for params in tried]
        scores = waf_of_confusion(np.array(cells).sum(axis=2))  # (candidates, test folds)
        outer = [run.fold.outer_fold for run in self.inner_runs()]
        return {fold: tried[best] for fold, best in zip(outer, scores.argmax(axis=0), strict=True)}

    def predict_tests(self, params: Mapping[int, TrainFusion]) -> TestProbabilities:
        """Predict the clips of each test fold with every seed, given the parameters of the fold."""
        seeds = self.params.seeds
        probs = np.zeros((len(seeds), len(self.corpus.clips), len(self.corpus.classes)))
        for run in self.runs():
            chosen = params[run.fold.outer_fold]
            probs[seeds.index(run.seed), run.fold.test] = self.predict(run, chosen)
        return probs
