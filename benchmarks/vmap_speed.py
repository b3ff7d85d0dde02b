"""Compare training folds and seeds together with vmap with training them one by one, on a GPU.

    ECMF_DEVICE=cuda python benchmarks/vmap_speed.py [fusion...]  # default: all

5 folds x 3 seeds of 2,000 random clips, one row each of four sources of 768, 1024, 1024 and 768
numbers; each fusion with its default options, batches of 64, 4 epochs with validation. Wall time,
for a GPU has no processor time; an epoch of each kind is run first for warming up. One by one only
three of the trainings are run and counted five times. Both are timed in float32 and in bfloat16.

It fails if vmap, the default on a GPU, takes a tenth longer than one by one, or if a fusion cannot
be trained with vmap, except for `semmim`, which pretrains without labels first.
"""

import logging
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from support.comparison import log

from ecmf import registry
from ecmf.data.features import Source
from ecmf.data.splits import Fold
from ecmf.execution import device
from ecmf.params import TrainFusion
from ecmf.training.dataset import Dataset
from ecmf.training.targets import class_targets
from ecmf.training.trainer import fit
from ecmf.training.vmap_trainer import fit_vmap

CLIPS, CLASSES, FOLDS, SEEDS, EPOCHS = 2_000, 6, 5, 3, 4
SOURCES = {"frame/a": 768, "face/b": 1024, "audio/c": 1024, "text/d": 768}
PRECISIONS = ("float32", "bfloat16")
MAX_SLOWDOWN = 1.1
NOT_VMAPPABLE = ("semmim",)


class Fallbacks(logging.Handler):
    """Count the messages about fusions that are trained run by run instead."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count a message."""
        self.count += 1


def measure(train: Callable[[int], object]) -> float:
    """Train an epoch for warming up, then all, and return the seconds of the latter."""
    for epochs in (1, EPOCHS):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        train(epochs)
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def main(fusions: list[str]) -> int:
    """Print a line per fusion; return 1 if vmap is slower."""
    torch_device = torch.device(device.torch_device())
    if torch_device.type == "cpu":
        log.info("this benchmark needs a GPU: set ECMF_DEVICE=cuda")
        return 0
    rng = np.random.default_rng(0)
    dataset = Dataset(
        [
            Source(name, rng.standard_normal((CLIPS, dim), "float32"), np.arange(CLIPS + 1), {})
            for name, dim in SOURCES.items()
        ],
        torch_device,
    )
    soft = np.eye(CLASSES, dtype="float32")[rng.integers(0, CLASSES, CLIPS)]
    targets = class_targets(soft, np.ones(CLIPS, "float32"))
    clips = np.arange(CLIPS)
    folds = [
        Fold(0, fold, np.delete(clips, np.s_[fold::FOLDS]), clips[fold::FOLDS], clips[:0])
        for fold in range(FOLDS)
    ]
    seeds = [seed for seed in range(SEEDS) for _ in folds]
    log.info("%s, torch %s", torch.cuda.get_device_name(torch_device), torch.__version__)
    log.info("| one by one / vmap | %s |", " | ".join(PRECISIONS))
    log.info("|---|---|---|")
    holds, fallbacks = True, Fallbacks()
    logging.getLogger("ecmf.training.vmap_trainer").addHandler(fallbacks)
    for fusion in fusions or registry.names("fusion"):
        cells = []
        for precision in PRECISIONS:
            params = TrainFusion.model_validate(
                {"model": fusion, "precision": precision, "batch_size": 64}
            )

            def train_with_vmap(epochs: int, params: TrainFusion = params) -> object:
                params = params.model_copy(update={"epochs": epochs})
                return fit_vmap(dataset, targets, folds * SEEDS, seeds, params)

            def train_one_by_one(epochs: int, params: TrainFusion = params) -> object:
                params = params.model_copy(update={"epochs": epochs})
                return [fit(dataset, targets, folds[0], seed, params) for seed in range(SEEDS)]

            fallbacks.count = 0
            vmap, one_by_one = measure(train_with_vmap), FOLDS * measure(train_one_by_one)
            if fallbacks.count:
                cells.append(f"run by run ({vmap:.1f} s)")
                holds &= fusion in NOT_VMAPPABLE
            else:
                cells.append(f"{one_by_one / vmap:.1f} ({vmap:.1f} s)")
                holds &= vmap <= MAX_SLOWDOWN * one_by_one
        log.info("| %s | %s |", fusion, " | ".join(cells))
    return int(not holds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
