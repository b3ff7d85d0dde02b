"""Name the folders of finished trainings by their inputs, and delete old ones."""

import hashlib
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import sklearn
import torch
from numpy.typing import NDArray

from ecmf import registry
from ecmf.data.manifest import Clip
from ecmf.execution import code_fingerprint, device
from ecmf.execution.result_cache import hash_json
from ecmf.params import TrainFusion
from ecmf.storage.files import sha256
from ecmf.training import vmap_trainer
from ecmf.training.task import Targets

CHECKPOINT_SECONDS = 7 * 24 * 3600
"""Age at which cached trainings are deleted."""


def prune_checkpoints(folder: Path) -> None:
    """Delete trainings not written to for a week; others may be in use."""
    for old in folder.iterdir() if folder.is_dir() else ():
        if time.time() - old.stat().st_mtime > CHECKPOINT_SECONDS:
            shutil.rmtree(old, ignore_errors=True)


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
        "ecmf.training.source_choice",
        f"ecmf.tasks.{params.task}",
        *code_fingerprint.plugin_modules("fusion", params.model),
    )
    options = registry.check_options("fusion", params.model, params.chosen_options)
    values = {**params.model_dump(mode="json"), "options": options.model_dump(mode="json")}
    return hash_json(inputs, code, values)[:32]


def _digest(array: NDArray[np.float32]) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()
