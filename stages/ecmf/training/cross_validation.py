"""All trainings of a model: folds x seeds, one thread each, side by side; a killed one resumes.

Each finished training waits in the cache under the hash of everything that made it, so that a run
that was ended goes on where it stopped. Nothing is read there that this very run would not write
(on a GPU: might not, see `training.py`).

There are as many processes as cores, with one thread each: more threads would change the last bits
with the machine. The features are read once, and mapped by all of them. On a GPU one process trains
stacks of runs instead (`stacking.py`); `ECMF_STACK` 0 or 1 chooses.
"""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import sklearn
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from ecmf.data.features import Source, load_sources, per_speaker
from ecmf.data.manifest import Clip
from ecmf.data.splits import Fold, make_folds, with_unlabelled
from ecmf.errors import ParamsError
from ecmf.execution import code_fingerprint, device, process_pool, result_cache
from ecmf.execution.process_pool import Failure
from ecmf.params import TrainFusion
from ecmf.storage.files import replacing, sha256
from ecmf.training import vmap_trainer
from ecmf.training.batch_sampler import count_batches
from ecmf.training.dataset import Dataset
from ecmf.training.early_stopping import Epoch
from ecmf.training.model import Model, build
from ecmf.training.shared_memory import shared
from ecmf.training.targets import Targets
from ecmf.training.trainer import Fitted, fit
from ecmf.training.vmap_trainer import fit_stack

log = logging.getLogger(__name__)

SECONDS_KEPT = 7 * 24 * 3600
"""How long a training waits in the cache for its run to go on."""

HISTORY = "history"
"""Where a weight file in the cache keeps the epochs of its training."""


class Run(NamedTuple):
    """One training."""

    seed: int
    fold: Fold

    @property
    def name(self) -> str:
        """A name for files and tables."""
        return f"seed{self.seed}-{self.fold.name}"


class Finished(NamedTuple):
    """A training of a member that is done: its weights on disk, and its epochs."""

    member: str
    run: Run
    weights: Path
    history: list[Epoch]

    @property
    def best(self) -> Epoch:
        """The epoch whose weights were kept."""
        if self.history[-1].validation_waf is None:
            return self.history[-1]
        return max(self.history, key=lambda epoch: (epoch.validation_waf, -epoch.epoch))


def plan(clips: Sequence[Clip], params: TrainFusion) -> list[Run]:
    """List all trainings. Folds follow from the seed alone, so all models share them."""
    return [
        Run(seed, fold)
        for seed in params.seeds
        for fold in make_folds(clips, params.folds, params.test_folds, seed)
    ]


def chosen_paths(paths: dict[str, Path], params: TrainFusion) -> dict[str, Path]:
    """Return the stores of the chosen branches; ParamsError if there is none."""
    chosen = {
        name: path for name, path in paths.items() if name.partition("/")[0] in params.branches
    }
    if not chosen:
        raise ParamsError(f"no table has an encoder of train_fusion.branches {params.branches}")
    return chosen


def read_sources(
    paths: dict[str, Path], clips: Sequence[Clip], params: TrainFusion
) -> list[Source]:
    """Read the features of the chosen branches, standardised per speaker if so chosen."""
    sources = load_sources(chosen_paths(paths, params), [clip.clip_id for clip in clips])
    if params.standardise != "speaker":
        return sources
    if nameless := [clip.clip_id for clip in clips if not clip.speaker]:
        raise ParamsError(
            f"train_fusion.standardise is 'speaker', but {len(nameless)} clips have no speaker, "
            f"{nameless[0]!r} for one: set it to corpus"
        )
    return [per_speaker(source, [clip.speaker for clip in clips]) for source in sources]


@dataclass(frozen=True)
class Trainer:
    """Runs in, their finished trainings out: one run, or several as one program (`stacking.py`)."""

    sources: Sequence[Source]
    clips: Sequence[Clip]
    targets: Targets
    params: TrainFusion
    folder: Path

    @cached_property
    def dataset(self) -> Dataset:
        """The features on the device."""
        log.info("training on %s", device.requested())
        return Dataset(self.sources, torch.device(device.requested()))

    def __call__(self, runs: Sequence[Run]) -> list[Finished]:
        """Train, or take what an ended run has left: all of it, for runs of a stack are one."""
        weights = [self.folder / f"{run.name}.safetensors" for run in runs]
        if not all(path.is_file() for path in weights):
            for path, fitted in zip(weights, self._fitted(runs), strict=True):
                state = {
                    name: tensor.cpu().contiguous()
                    for name, tensor in fitted.model.state_dict().items()
                }
                with replacing(path) as part:
                    save_file(state, part, {HISTORY: json.dumps(fitted.history)})
        return [
            Finished(self.params.model, run, path, _history(path))
            for run, path in zip(runs, weights, strict=True)
        ]

    def batches(self, run: Run) -> int:
        """Return how many batches the run learns from in an epoch."""
        train = self._fold(run).train
        return count_batches(int((self.targets.weight[train] > 0).sum()), self.params.batch)

    def _fitted(self, runs: Sequence[Run]) -> list[Fitted]:
        folds, seeds = [self._fold(run) for run in runs], [run.seed for run in runs]
        if len(runs) > 1:
            return fit_stack(self.dataset, self.targets, folds, seeds, self.params)
        return [fit(self.dataset, self.targets, folds[0], seeds[0], self.params)]

    def _fold(self, run: Run) -> Fold:
        return with_unlabelled(run.fold, self.clips, self.targets.weight)


def train_all(
    paths: dict[str, Path], clips: Sequence[Clip], targets: Targets, params: TrainFusion
) -> Iterator[Finished]:
    """Yield every finished training: member by member, in the order of the plan.

    The features are read once for all of them.
    """
    waiting = result_cache.folder() / "train_fusion"
    _forget_old(waiting)
    inputs = inputs_hash(paths, clips, targets)
    runs = plan(clips, params)
    trainer = Trainer(read_sources(paths, clips, params), clips, targets, params, waiting)
    stacks = _stacks(runs, trainer) if vmap_trainer.wanted() else [[run] for run in runs]
    processes = 1 if device.requested() != "cpu" else min(process_pool.count(), len(stacks))
    with ExitStack() as files:
        if processes > 1:
            sources = files.enter_context(shared(trainer.sources, waiting))
            trainer = replace(trainer, sources=sources)
        for name in params.members:
            member = params.of_member(name)
            folder = waiting / training_hash(inputs, member)
            results = process_pool.run(
                replace(trainer, params=member, folder=folder), stacks, workers=processes
            )
            yield from _in_order(runs, results, name)


def _in_order(
    runs: Sequence[Run], results: Iterator[list[Finished] | Failure], member: str
) -> Iterator[Finished]:
    """Yield the trainings in the order of their runs, and show how far they are."""
    waiting = [run.name for run in runs]
    finished: dict[str, Finished] = {}
    with tqdm(total=len(runs), desc=f"train {member}", unit="run", disable=None) as progress:
        for result in results:
            if isinstance(result, Failure):
                raise RuntimeError(f"a training ended without a result: {result.reason}")
            for each in result:
                finished[each.run.name] = each
                if each.best.validation_waf is not None:
                    progress.set_postfix(validation_waf=f"{each.best.validation_waf:.3f}")
                progress.update()
            while waiting and waiting[0] in finished:
                yield finished.pop(waiting.pop(0))


def _stacks(runs: Sequence[Run], trainer: Trainer) -> list[list[Run]]:
    """Which runs are one program; that depends on nothing but what is trained."""
    batches = [trainer.batches(run) for run in runs]
    most = vmap_trainer.most_runs(trainer.sources, trainer.params.batch)
    return [[runs[number] for number in stack] for stack in vmap_trainer.stacks(batches, most)]


def _history(weights: Path) -> list[Epoch]:
    with safe_open(weights, "pt") as file:
        return [Epoch(*line) for line in json.loads(file.metadata()[HISTORY])]


def _forget_old(folder: Path) -> None:
    """Remove what no run has written to for a week; younger ones may belong to a run beside us."""
    for old in folder.iterdir() if folder.is_dir() else ():
        if time.time() - old.stat().st_mtime > SECONDS_KEPT:
            shutil.rmtree(old, ignore_errors=True)


def load_model(
    weights: Path, params: TrainFusion, sources: Sequence[Source], classes: int, where: torch.device
) -> Model:
    """Build the model and fill in its weights."""
    shapes = Dataset(sources, torch.device("cpu")).shapes
    model = build(params.model, params.options.get(params.model, {}), shapes, classes, seed=0)
    model.load_state_dict(load_file(weights))
    return model.to(where).eval()


def inputs_hash(paths: dict[str, Path], clips: Sequence[Clip], targets: Targets) -> str:
    """Hash what decides the weights of every model alike: features, clips, targets, versions."""
    return _hashed(
        repr([(clip.clip_id, clip.speaker, clip.group, clip.split, clip.label) for clip in clips]),
        repr(list(paths)),
        _digest(targets.soft),
        _digest(targets.weight),
        _digest(targets.of_valence()),
        f"{torch.__version__} {np.__version__} {sklearn.__version__}",
        f"{device.requested()} {'stacked' if vmap_trainer.wanted() else 'one by one'}",
        sha256(*paths.values()),
    )


def training_hash(inputs: str, params: TrainFusion) -> str:
    """Hash the inputs, the parameters and the code of the training of one model."""
    code = code_fingerprint.of(
        "ecmf.training.trainer",
        "ecmf.training.vmap_trainer",
        *code_fingerprint.modules_of("fusion", params.model),
    )
    return _hashed(inputs, code, params.model_dump_json())


def _hashed(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _digest(array: NDArray[np.float32]) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()
