"""Train models on all folds with all seeds, in parallel; an interrupted training resumes.

Each finished run is cached under the hash of its inputs, parameters and code; training again would
give the same bytes (on a GPU not always, see `trainer`).

Each core has a process with one thread, since the number of threads affects the last bits. The
features are read once, and mapped by all processes. On a GPU one process trains groups of runs with
vmap instead (`vmap_trainer`); `ECMF_VMAP` set to 0 or 1 overrides this.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

from ecmf.data.manifest import Clip
from ecmf.errors import ParamsError
from ecmf.execution import device, process_pool, result_cache
from ecmf.execution.process_pool import Failure
from ecmf.params import TrainFusion
from ecmf.training import vmap_trainer
from ecmf.training.dataset import Dataset
from ecmf.training.fold_runs import Chosen, FoldRun, TrainedRun, plan_refits, plan_runs
from ecmf.training.idle_parameters import warn_of_idle_parameters
from ecmf.training.model import build
from ecmf.training.run_trainer import RunTrainer
from ecmf.training.shared_memory import SharedMemory, mean_rows, share_memory
from ecmf.training.source_choice import SourceChooser, SourceClassifiers
from ecmf.training.source_reading import read_sources
from ecmf.training.task import Targets, Task
from ecmf.training.training_cache import inputs_hash, prune_checkpoints, training_hash


def train_all(
    paths: dict[str, Path], clips: Sequence[Clip], targets: Targets, params: TrainFusion
) -> Iterator[TrainedRun]:
    """Train every ensemble member, and yield its runs: of `plan_runs`, then of `plan_refits`."""
    cache = result_cache.root_folder() / "train_fusion"
    prune_checkpoints(cache)
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
    fusion = build(task, params, dataset.shapes, seed=0).fusion
    if not fusion.weighs_sources or (params.chooses_sources and params.refits):
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
    classified = {}
    with closing(results):  # ends the workers
        progress = tqdm(
            results, desc="classify by source", total=len(runs), unit="run", disable=None
        )
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
