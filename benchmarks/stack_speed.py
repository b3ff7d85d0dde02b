"""Folds and seeds as one program, against the same trainings one by one, on a GPU.

    ECMF_DEVICE=cuda python benchmarks/stack_speed.py [member...]  # all, if none is named

5 folds x 3 seeds of 2,000 made clips, one row each of four sources of 768, 1024, 1024 and 768
numbers; each member as it is by default, batches of 64, 4 epochs with their validation. By the
clock, for a GPU has no processor time; an epoch of each kind goes before and is not counted. One by
one only three of the trainings are run and counted five times. Both are timed in float32 and in
bfloat16.

It fails where a stack, which is what a GPU does by default, takes a tenth longer than one by one,
or where a member is not stacked, but for `semmim`, which practises without labels first.
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
from ecmf.training.targets import Targets
from ecmf.training.trainer import fit
from ecmf.training.vmap_trainer import fit_stack

CLIPS, CLASSES, FOLDS, SEEDS, EPOCHS = 2_000, 6, 5, 3, 4
SOURCES = {"frame/a": 768, "face/b": 1024, "audio/c": 1024, "text/d": 768}
PRECISIONS = ("float32", "bfloat16")
SLOWER = 1.1
UNSTACKED = ("semmim",)


class Fallbacks(logging.Handler):
    """Counts what is said of members that are trained run by run after all."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count one."""
        self.count += 1


def seconds(work: Callable[[int], object]) -> float:
    """Do an epoch of it for warming up, then all of it, and return the time that took."""
    for epochs in (1, EPOCHS):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        work(epochs)
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def main(members: list[str]) -> int:
    """Print a line per member; 1 where a stack is slower."""
    where = device.of_torch()
    if where == "cpu":
        log.info("there is nothing to measure without a GPU: set ECMF_DEVICE=cuda")
        return 0
    rng = np.random.default_rng(0)
    dataset = Dataset(
        [
            Source(name, rng.standard_normal((CLIPS, dim), "float32"), np.arange(CLIPS + 1), {})
            for name, dim in SOURCES.items()
        ],
        torch.device(where),
    )
    soft = np.eye(CLASSES, dtype="float32")[rng.integers(0, CLASSES, CLIPS)]
    targets = Targets(soft, np.ones(CLIPS, "float32"))
    everyone = np.arange(CLIPS)
    folds = [
        Fold(0, fold, np.delete(everyone, np.s_[fold::FOLDS]), everyone[fold::FOLDS], everyone[:0])
        for fold in range(FOLDS)
    ]
    seeds = [seed for seed in range(SEEDS) for _ in folds]
    log.info("%s, torch %s", torch.cuda.get_device_name(where), torch.__version__)
    log.info("| one by one / stacked | %s |", " | ".join(PRECISIONS))
    log.info("|---|---|---|")
    holds, fallbacks = True, Fallbacks()
    logging.getLogger("ecmf.training.vmap_trainer").addHandler(fallbacks)
    for member in members or registry.names("fusion"):
        cells = []
        for precision in PRECISIONS:
            params = TrainFusion.model_validate(
                {"model": member, "precision": precision, "batch": 64}
            )

            def together(epochs: int, params: TrainFusion = params) -> object:
                params = params.model_copy(update={"epochs": epochs})
                return fit_stack(dataset, targets, folds * SEEDS, seeds, params)

            def alone(epochs: int, params: TrainFusion = params) -> object:
                params = params.model_copy(update={"epochs": epochs})
                return [fit(dataset, targets, folds[0], seed, params) for seed in range(SEEDS)]

            fallbacks.count = 0
            stack, one_by_one = seconds(together), FOLDS * seconds(alone)
            if fallbacks.count:
                cells.append(f"run by run ({stack:.1f} s)")
                holds &= member in UNSTACKED
            else:
                cells.append(f"{one_by_one / stack:.1f} ({stack:.1f} s)")
                holds &= stack <= SLOWER * one_by_one
        log.info("| %s | %s |", member, " | ".join(cells))
    return int(not holds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
