"""Train models on all folds with all seeds, in parallel; an interrupted training resumes.

Each finished run is cached under the hash of its inputs, parameters and code; training again would
give the same bytes (on a GPU not always, see `trainer`).

Each core has a process with one thread, since the number of threads affects the last bits. The
features are read once, and mapped by all processes. On a GPU one process trains groups of runs with
vmap instead (`vmap_trainer`); `ECMF_VMAP` set to 0 or 1 overrides this.
"""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import sklearn
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from ecmf import registry
from ecmf.data.features import (
    Source,
    in_this_process,
    load_sources,
    standardise_per_speaker,
)
from ecmf.data.manifest import Clip
from ecmf.data.splits import Fold, Indices, with_unlabelled
from ecmf.errors import ParamsError, StoreError
from ecmf.execution import code_fingerprint, device, process_pool, result_cache
from ecmf.execution.process_pool import Failure
from ecmf.execution.result_cache import hash_json
from ecmf.params import TrainFusion
from ecmf.storage.files import sha256, write_text
from ecmf.training import vmap_trainer
from ecmf.training.batch_sampler import count_batches
from ecmf.training.dataset import Dataset
from ecmf.training.early_stopping import Epoch
from ecmf.training.fold_runs import Chosen, FoldRun, TrainedRun, plan_refits, plan_runs
from ecmf.training.idle_parameters import warn_of_idle_parameters
from ecmf.training.model import Model, build, target_sources
from ecmf.training.shared_memory import SharedMemory, mean_rows, share_memory
from ecmf.training.source_choice import SourceChooser, SourceClassifiers
from ecmf.training.task import Targets, Task
from ecmf.training.trainer import Fitted, fit
from ecmf.training.vmap_trainer import fit_vmap
from ecmf.training.weight_files import read_weights, write_weights

log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 7 * 24 * 3600
"""Age at which cached trainings are deleted."""

HISTORY = "history"
"""Metadata key of the epochs in a cached weight file."""

DIGEST_SUFFIX = ".sha256"
"""Suffix of the file beside it with its SHA-256, written last."""


def paths_of_branches(paths: dict[str, Path], params: TrainFusion) -> dict[str, Path]:
    """Return the stores of `params.branches`, by source; raises ParamsError if there is none."""
    chosen = {
        name: path for name, path in paths.items() if name.partition("/")[0] in params.branches
    }
    if not chosen:
        raise ParamsError(f"no table has an encoder of train_fusion.branches {params.branches}")
    return chosen


def read_sources(
    paths: dict[str, Path],
    clips: Sequence[Clip],
    params: TrainFusion,
    memory: SharedMemory | None = None,
) -> Sequence[Source]:
    """Read the features of `params.branches`, standardised per speaker if set, except targets.

    They are held in `memory` if other processes read them too.
    """
    anonymous = [clip.clip_id for clip in clips if not clip.speaker]
    if params.standardise == "speaker" and anonymous:
        raise ParamsError(
            f"train_fusion.standardise is 'speaker', but {len(anonymous)} clips have no speaker, "
            f"e.g. {anonymous[0]!r}: set it to corpus"
        )
    allocate = memory.allocate if memory else in_this_process
    clip_ids = [clip.clip_id for clip in clips]
    sources = load_sources(paths_of_branches(paths, params), clip_ids, allocate)
    if params.standardise == "speaker":
        targets = target_sources(params)
        for source in sources:
            if source.name not in targets:
                standardise_per_speaker(source, [clip.speaker for clip in clips])
    return [memory.share(source) for source in sources] if memory else sources


@dataclass(frozen=True)
class RunTrainer:
    """Train a list of runs: one run with `fit`, or several together with `fit_vmap`."""

    sources: Sequence[Source]
    clips: Sequence[Clip]
    targets: Targets
    params: TrainFusion
    folder: Path

    @cached_property
    def dataset(self) -> Dataset:
        """The features, on the device."""
        log.info("training on %s", device.requested())
        return Dataset(self.sources, torch.device(device.requested()))

    def __call__(self, runs: Sequence[FoldRun]) -> list[TrainedRun]:
        """Train the runs, or read them if all are cached."""
        cached = [self._read(run) for run in runs]
        if None not in cached:
            return [trained for trained in cached if trained]
        return [self._write(run, fitted) for run, fitted in zip(runs, self._fit(runs), strict=True)]

    def _write(self, run: FoldRun, fitted: Fitted) -> TrainedRun:
        path = self._path(run)
        state = {
            name: tensor.cpu().contiguous() for name, tensor in fitted.model.state_dict().items()
        }
        digest = write_weights(path, state, {HISTORY: json.dumps(fitted.history)})
        write_text(path.with_suffix(DIGEST_SUFFIX), digest)
        return TrainedRun(self.params.model, run, path, digest, list(fitted.history))

    def _read(self, run: FoldRun) -> TrainedRun | None:
        """Return a finished training from the cache, or None if it is absent or damaged."""
        path = self._path(run)
        if not path.is_file():
            return None
        try:
            digest = path.with_suffix(DIGEST_SUFFIX).read_text(encoding="utf-8", errors="replace")
            _, metadata = read_weights(path, digest, "they are trained again")
        except (FileNotFoundError, StoreError) as error:
            log.warning("%s: %s", run.name, error)
            return None
        history = [Epoch(*line) for line in json.loads(metadata[HISTORY])]
        return TrainedRun(self.params.model, run, path, digest, history)

    def _path(self, run: FoldRun) -> Path:
        return self.folder / f"{run.name}.safetensors"

    def batches(self, run: FoldRun) -> int:
        """Count the batches of an epoch."""
        train = self.train_clips(run)
        return count_batches(int((self.targets.weight[train] > 0).sum()), self.params.batch_size)

    def train_clips(self, run: FoldRun) -> Indices:
        """Return the positions of the training clips of a run."""
        return self.fold(run).train

    def _fit(self, runs: Sequence[FoldRun]) -> list[Fitted]:
        folds, seeds = [self.fold(run) for run in runs], [run.seed for run in runs]
        chosen = [run.chosen for run in runs]
        if len(runs) > 1:
            return fit_vmap(self.dataset, self.targets, folds, seeds, self.params, chosen)
        return [fit(self.dataset, self.targets, folds[0], seeds[0], self.params, chosen[0])]

    def fold(self, run: FoldRun) -> Fold:
        """Return the fold of a run, with the unlabelled clips that it may use."""
        return with_unlabelled(run.fold, self.clips, self.targets.weight)


def train_all(
    paths: dict[str, Path], clips: Sequence[Clip], targets: Targets, params: TrainFusion
) -> Iterator[TrainedRun]:
    """Train every ensemble member, and yield its runs: of `plan_runs`, then of `plan_refits`."""
    cache = result_cache.root_folder() / "train_fusion"
    _prune_checkpoints(cache)
    inputs = inputs_hash(paths, clips, targets)
    runs = plan_runs(clips, params)
    with ExitStack() as files:
        memory = files.enter_context(share_memory(cache)) if _processes(len(runs)) > 1 else None
        features = read_sources(paths, clips, params, memory)
        trainer = RunTrainer(features, clips, targets, params, cache)
        chooser = _source_chooser(trainer, runs, memory) if params.chooses_sources else None
        on_cpu, train = Dataset(trainer.sources, torch.device("cpu")), trainer.train_clips(runs[0])
        for name in params.members:
            member = params.of_member(name)
            check_source_weights(on_cpu, targets.task, member)
            warn_of_idle_parameters(on_cpu, targets, train, member)
            folder = cache / training_hash(inputs, member)
            of_member = replace(trainer, params=member, folder=folder)
            own_runs = runs
            if chooser and not member.refits:  # one training set, and its validation split
                sources = chooser.choose(runs, member)
                own_runs = [run._replace(chosen=Chosen(sources=sources[0])) for run in runs]
            trained = []
            for run in _train(of_member, own_runs, f"train {name}"):
                trained.append(run)
                yield run
            if member.refits:
                sources = chooser.choose(runs, member, trained) if chooser else {}
                yield from _train(of_member, plan_refits(trained, sources), f"refit {name}")


def check_source_weights(dataset: Dataset, task: Task, params: TrainFusion) -> None:
    """Raise ParamsError if the model needs weights of sources that nothing would fit."""
    if (params.chooses_sources and params.refits) or not build(
        task, params, dataset.shapes, 0
    ).fusion.weighs_sources:
        return
    raise ParamsError(
        f"{params.model} weighs sources by predictions of the folds, but none are made: set "
        "train_fusion.refit and train_fusion.choose_sources to true and train_fusion.folds to 2 "
        "or more, or another rule of the model"
    )


def _source_chooser(
    trainer: RunTrainer, runs: Sequence[FoldRun], memory: SharedMemory | None
) -> SourceChooser:
    """Classify the validation clips of all runs by each source, in parallel."""
    means = [mean_rows(source, memory) for source in trainer.sources]
    classifiers = SourceClassifiers(trainer.sources, means, trainer.targets)
    folded = [run._replace(fold=trainer.fold(run)) for run in runs]
    results = process_pool.run(classifiers, folded, workers=_processes(len(runs)))
    progress = tqdm(results, desc="classify by source", total=len(runs), unit="run", disable=None)
    classified = {}
    for run, result in zip(runs, progress, strict=True):
        if isinstance(result, Failure):
            raise RuntimeError(f"a classifier ended without a result: {result.reason}")
        classified[run.name] = result
    return SourceChooser(classified, trainer.dataset, trainer.targets, trainer.clips)


def _train(trainer: RunTrainer, runs: Sequence[FoldRun], description: str) -> Iterator[TrainedRun]:
    """Train runs in parallel, and yield them in their order."""
    groups = _vmap_groups(runs, trainer) if vmap_trainer.enabled() else [[run] for run in runs]
    results = process_pool.run(trainer, groups, workers=_processes(len(groups)))
    yield from _in_order(runs, results, description)


def _processes(groups: int) -> int:
    return 1 if device.requested() != "cpu" else min(process_pool.worker_count(), groups)


def _in_order(
    runs: Sequence[FoldRun], results: Generator[list[TrainedRun] | Failure], description: str
) -> Iterator[TrainedRun]:
    """Yield the trained runs in the order of `runs`, and show the progress."""
    pending = [run.name for run in runs]
    finished: dict[str, TrainedRun] = {}
    with (
        closing(results),  # ends the workers
        tqdm(total=len(runs), desc=description, unit="run", disable=None) as progress,
    ):
        for result in results:
            if isinstance(result, Failure):
                raise RuntimeError(f"a training ended without a result: {result.reason}")
            for trained in result:
                finished[trained.run.name] = trained
                if trained.best.validation_score is not None:
                    progress.set_postfix(validation=f"{trained.best.validation_score:.3f}")
                progress.update()
            while pending and pending[0] in finished:
                yield finished.pop(pending.pop(0))


def _vmap_groups(runs: Sequence[FoldRun], trainer: RunTrainer) -> list[list[FoldRun]]:
    """Group the runs that are trained together, regardless of the cache."""
    batches = [trainer.batches(run) for run in runs]
    max_size = vmap_trainer.max_group_size(trainer.sources, trainer.params.batch_size)
    groups = vmap_trainer.group_runs(batches, max_size)
    return [[runs[number] for number in group] for group in groups]


def _prune_checkpoints(folder: Path) -> None:
    """Delete trainings not written to for a week; others may be in use."""
    for old in folder.iterdir() if folder.is_dir() else ():
        if time.time() - old.stat().st_mtime > CHECKPOINT_SECONDS:
            shutil.rmtree(old, ignore_errors=True)


def load_model(
    weights: Mapping[str, torch.Tensor],
    params: TrainFusion,
    sources: Sequence[Source],
    task: Task,
    device: torch.device,
) -> Model:
    """Build the model, and load its weights."""
    model = build(task, params, Dataset(sources, torch.device("cpu")).shapes, seed=0)
    model.load_state_dict(weights)
    return model.to(device).eval()


def inputs_hash(paths: dict[str, Path], clips: Sequence[Clip], targets: Targets) -> str:
    """Hash the common inputs of all trainings: features, clips, targets, versions, device."""
    return hash_json(
        [(clip.clip_id, clip.speaker, clip.group, clip.split, clip.label) for clip in clips],
        list(paths),
        {name: _digest(values) for name, values in targets.values.items()},
        _digest(targets.weight),
        f"{torch.__version__} {np.__version__} {sklearn.__version__}",
        f"{device.requested()} {'vmap' if vmap_trainer.enabled() else 'single'}",
        sha256(*paths.values()),
    )[:32]


def training_hash(inputs: str, params: TrainFusion) -> str:
    """Hash the inputs, the parameters and the code of the training of one ensemble member.

    The options of the model count with their defaults, those of other models not at all.
    """
    code = code_fingerprint.hash_modules(
        "ecmf.training.trainer",
        "ecmf.training.vmap_trainer",
        f"ecmf.tasks.{params.task}",
        *code_fingerprint.plugin_modules("fusion", params.model),
    )
    options = registry.check_options("fusion", params.model, params.chosen_options)
    values = {**params.model_dump(mode="json"), "options": options.model_dump(mode="json")}
    return hash_json(inputs, code, values)[:32]


def _digest(array: NDArray[np.float32]) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()
