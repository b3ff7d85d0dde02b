"""Train runs, or read them from the cache of finished trainings."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from ecmf.data.features import Source
from ecmf.data.manifest import Clip
from ecmf.data.splits import Fold, Indices, with_unlabelled
from ecmf.errors import StoreError
from ecmf.execution import device
from ecmf.params import TrainFusion
from ecmf.storage.files import write_text
from ecmf.training.batch_sampler import count_batches
from ecmf.training.dataset import Dataset
from ecmf.training.early_stopping import Epoch
from ecmf.training.fold_runs import FoldRun, TrainedRun
from ecmf.training.task import Targets
from ecmf.training.trainer import Fitted, fit
from ecmf.training.vmap_trainer import fit_vmap
from ecmf.training.weight_files import read_weights, write_weights

log = logging.getLogger(__name__)

HISTORY = "history"
"""Metadata key of the epochs in a cached weight file."""

DIGEST_SUFFIX = ".sha256"
"""Suffix of the file beside it with its SHA-256, written last."""


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
