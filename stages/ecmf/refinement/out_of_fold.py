"""Predict labels out of fold: no model predicts a labelled clip of a group it was trained on.

A classifier per source of features, and a fusion of all, are trained on all folds (by group) of the
training split but one, and predict that fold. A model that has learned no clip of a class cannot
know it: it does not vote on the clips that have its label, such as those of a class that one group
alone has. The prediction of an unlabelled clip is the mean over
the models of all folds; in later rounds of self-training, these include models trained on its own
pseudo-label. Predictions are cached, so that an interrupted run can resume.
"""

import functools
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from ecmf.data.features import Source
from ecmf.data.manifest import Clip
from ecmf.data.splits import Fold, Indices, rare_classes_allowed
from ecmf.errors import ParamsError
from ecmf.execution import code_fingerprint, device, engine, process_pool, result_cache
from ecmf.execution.process_pool import Failure
from ecmf.execution.recipe import ClipInput, PoolRecipe
from ecmf.params import RefineLabels, TrainFusion
from ecmf.probabilities import Probabilities
from ecmf.refinement.base import FUSION, SourceVotes
from ecmf.storage.files import sha256
from ecmf.storage.store import Layout, Result, Rows
from ecmf.training.dataset import Dataset
from ecmf.training.prediction import predict
from ecmf.training.shared_memory import SharedMemory, mean_rows, share_memory
from ecmf.training.source_classifier import REGULARISATION, classify_by_source
from ecmf.training.source_reading import read_sources
from ecmf.training.task import Targets
from ecmf.training.trainer import fit

log = logging.getLogger(__name__)

PACKAGES = ("numpy", "scikit-learn", "scipy", "torch")
"""Packages whose versions affect the last bits of a prediction."""

TRAINING: Mapping[str, object] = {
    "folds": 1,
    "standardise": "corpus",
    "epochs": 30,
    "patience": 10,
    "batch_size": 64,
    "learning_rate": 3e-3,
    "weight_decay": 0.5,
}
"""Training parameters of the fusion, the defaults of `train_fusion`. They are fixed, so that votes
do not change with every experiment on the training."""


@dataclass(frozen=True)
class FoldTask:
    """Training and prediction of one model in one fold, by positions of clips in the manifest.

    `validation` is for early stopping; it is empty for a classifier.
    """

    model: str
    train: Indices
    validation: Indices
    predicted: Indices


@dataclass(frozen=True)
class OutOfFoldPredictor:
    """Train models in folds of `train` and predict `train` and `unlabelled`; picklable."""

    paths: Mapping[str, Path]
    clips: Sequence[Clip]
    classes: Sequence[str]
    train: Indices
    unlabelled: Indices
    params: RefineLabels

    @property
    def models(self) -> list[str]:
        """Names of the models: one per source of features, and the fusion."""
        return [*self.paths, FUSION]

    @property
    def training(self) -> TrainFusion:
        """Training parameters of the fusion."""
        return TrainFusion.model_validate({"model": self.params.fusion, **TRAINING})

    @functools.cached_property
    def features(self) -> dict[str, str]:
        """SHA-256 of the features of each source."""
        return {name: sha256(path) for name, path in self.paths.items()}

    def provenance(self, model: str, unknown: int) -> dict[str, object]:
        """Describe a model for `sources.json`; on `unknown` clips it did not know the class."""
        architecture = (
            self.params.fusion if model == FUSION else f"logistic regression, C {REGULARISATION}"
        )
        described = {"model": architecture, "folds": self.params.folds, "seed": self.params.seed}
        return described | ({"clips_of_unknown_class": unknown} if unknown else {})

    def votes(self, targets: Targets) -> dict[str, SourceVotes]:
        """Train every model on `targets` and predict (train and unlabelled clips, classes).

        Clips of weight 0 are not trained on.

        Raises:
            ParamsError: the training split has fewer groups, or no class as many clips, as folds.
        """
        clips = np.concatenate([self.train, self.unlabelled])
        row = {int(clip): number for number, clip in enumerate(clips)}
        tasks = list(self._tasks(targets))
        sums = {model: np.zeros((len(clips), len(self.classes))) for model in self.models}
        counts = {model: np.zeros((len(clips), 1)) for model in self.models}
        unknown: dict[str, list[int]] = {model: [] for model in self.models}
        inputs = [self._input(number, task, targets) for number, task in enumerate(tasks)]
        with self._memory() as memory:
            results = engine.run(self._recipe(targets, memory), inputs) or ()
            for task, (_, result) in zip(tasks, results, strict=True):
                if isinstance(result, Failure):
                    raise RuntimeError(f"training of {task.model} failed: {result.reason}")
                known = self._knows_class(task, targets)
                unknown[task.model] += task.predicted[~known].tolist()
                probs = np.asarray(result[0].values) * known[:, None]
                rows = [row[int(clip)] for clip in task.predicted]
                sums[task.model][rows] += probs
                counts[task.model][rows] += probs.any(axis=1, keepdims=True)
        self._log_unknown({clip for missed in unknown.values() for clip in missed})
        return {
            model: SourceVotes(
                "out_of_fold",
                sums[model] / np.maximum(counts[model], 1),
                self.provenance(model, len(unknown[model])),
            )
            for model in self.models
        }

    def _knows_class(self, task: FoldTask, targets: Targets) -> NDArray[np.bool_]:
        """Return whether the model learns the class that each predicted clip has as its label."""
        learned = targets.values["class_probs"][task.train].sum(axis=0) > 0
        label = {int(i): self.classes.index(self.clips[i].label) for i in self.train}
        known = [learned[label[i]] if i in label else True for i in task.predicted.tolist()]
        return np.array(known, "bool")

    def _log_unknown(self, clips: set[int]) -> None:
        """Log the number of clips of each class on which a model did not vote."""
        for name, count in sorted(Counter(self.clips[i].label for i in clips).items()):
            log.warning(
                "class %r: on %d of its clips no model votes that learned none of it; their label "
                "stays, unless another source contradicts it", name, count,
            )  # fmt: skip

    def _tasks(self, targets: Targets) -> Iterator[FoldTask]:
        """Yield all trainings; pseudo-labelled clips are never used for validation."""
        train = self.train[targets.weight[self.train] > 0]
        added = self.unlabelled[targets.weight[self.unlabelled] > 0]
        excluded = self.train[targets.weight[self.train] <= 0]
        for rest, held_out in self._folds(train, targets, self.params.folds):
            predicted = np.concatenate(
                [held_out, self._of_groups(excluded, held_out), self.unlabelled]
            )
            own = np.concatenate([rest, self._apart(added, held_out)])
            for source in self.paths:
                yield FoldTask(source, own, own[:0], predicted)
            groups = len({self.clips[i].group for i in rest})
            inner, validation = next(self._folds(rest, targets, min(self.params.folds, groups)))
            learned = np.concatenate(
                [inner, self._apart(added, np.concatenate([held_out, validation]))]
            )
            yield FoldTask(FUSION, learned, validation, predicted)

    def _folds(
        self, clips: Indices, targets: Targets, folds: int
    ) -> Iterator[tuple[Indices, Indices]]:
        labels = targets.values["class_probs"][clips].argmax(axis=1)
        groups = [self.clips[i].group for i in clips]
        max_folds = min(len(set(groups)), np.bincount(labels, minlength=1).max())
        if max_folds < folds or folds < 2:
            raise ParamsError(
                f"refine_labels.folds is {self.params.folds}, but models would be trained on "
                f"{len(set(groups))} groups (speakers, dialogues or films) and {len(clips)} clips: "
                "lower it, or choose a refiner that uses no model"
            )
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=self.params.seed)
        with rare_classes_allowed():
            cuts = list(splitter.split(np.zeros(len(clips)), labels, groups))
        for rest, held_out in cuts:
            if len(rest) and len(held_out):  # few large groups may leave a fold empty
                yield clips[rest], clips[held_out]

    def _of_groups(self, clips: Indices, others: Indices) -> Indices:
        """Select the clips that share a group with `others`."""
        groups = {self.clips[i].group for i in others}
        return np.array([i for i in clips if self.clips[i].group in groups], "int64")

    def _apart(self, clips: Indices, others: Indices) -> Indices:
        """Select the clips that share no group with `others`."""
        groups = {self.clips[i].group for i in others}
        return np.array([i for i in clips if self.clips[i].group not in groups], "int64")

    def _input(self, number: int, task: FoldTask, targets: Targets) -> ClipInput:
        """Wrap a task as an input whose key is the hash of its clips and their targets."""
        learned = np.concatenate([task.train, task.validation])
        key = result_cache.hash_json(
            task.model,
            *(part.tolist() for part in (task.train, task.validation, task.predicted)),
            targets.values["class_probs"][learned].tolist(),
            targets.weight[learned].tolist(),
        )
        return ClipInput(f"{task.model} {number}", key, lambda: task)

    def _memory(self) -> AbstractContextManager[SharedMemory | None]:
        """Share features between the workers of this machine; a node of a cluster reads them."""
        alone = device.requested() != "cpu" or process_pool.worker_count() == 1
        if engine.is_local() and not alone:
            return share_memory(result_cache.root_folder() / "votes")
        return nullcontext()

    def _recipe(self, targets: Targets, memory: SharedMemory | None = None) -> PoolRecipe:
        identity = {
            "features": self.features,
            "clips": result_cache.hash_json([[clip.clip_id, clip.speaker] for clip in self.clips]),
            "classes": list(self.classes),
            "training": self.training.model_dump(mode="json"),
            "seed": self.params.seed,
            "device": device.requested().partition(":")[0],
            "code": code_fingerprint.hash_modules(
                "ecmf.refinement.out_of_fold",
                f"ecmf.tasks.{self.training.task}",
                *code_fingerprint.plugin_modules("fusion", self.params.fusion),
            ),
            "versions": {name: version(name) for name in PACKAGES},
        }
        layout = Layout((len(self.classes),), "float64", rate=1.0)
        run = FoldRunner(self, targets, memory)
        return PoolRecipe("votes", (layout,), identity, run, exclusive=device.requested() != "cpu")


@dataclass(frozen=True)
class FoldRunner:
    """Run tasks in worker processes.

    The features are read on first use: in `memory` once for all workers, when the first of them is
    started; without it once in each process.
    """

    predictor: OutOfFoldPredictor
    targets: Targets
    memory: SharedMemory | None = None

    def __getstate__(self) -> dict[str, object]:
        """Pickle the paths of the features in shared memory instead of the memory."""
        state = {"predictor": self.predictor, "targets": self.targets, "memory": None}
        if self.memory is None:
            return state
        return {**state, "sources": self.sources, "means": self.means}

    @functools.cached_property
    def sources(self) -> dict[str, Source]:
        """The features by name."""
        paths, training = dict(self.predictor.paths), self.predictor.training
        sources = read_sources(paths, self.predictor.clips, training, self.memory)
        return {source.name: source for source in sources}

    @functools.cached_property
    def means(self) -> dict[str, Source]:
        """Mean row of each clip by source, (clips, dim); zeros for a clip without a row."""
        return {name: mean_rows(source, self.memory) for name, source in self.sources.items()}

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The features on the device."""
        return Dataset(list(self.sources.values()), torch.device(device.requested()))

    def __call__(self, task: FoldTask) -> Result:
        """Train a model and return a row of class probabilities per predicted clip."""
        run = self._fusion if task.model == FUSION else self._classifier
        return (Rows(run(task), np.arange(len(task.predicted), dtype="float64")),)

    def _fusion(self, task: FoldTask) -> Probabilities:
        """Train the fusion; a clip without any source gets no vote."""
        seed = self.predictor.params.seed
        fold = Fold(0, 0, task.train, task.validation, task.predicted)
        fitted = fit(self.dataset, self.targets, fold, seed, self.predictor.training)
        probs = predict(fitted.model, self.dataset, task.predicted).outputs.astype("float64")
        present = np.any([source.present for source in self.sources.values()], axis=0)
        return np.asarray(probs * present[task.predicted, None])

    def _classifier(self, task: FoldTask) -> Probabilities:
        """Classify by one source; a clip without it gets no vote."""
        means, present = self.means[task.model].values, self.sources[task.model].present
        return classify_by_source(means, present, self.targets, task.train, task.predicted)
