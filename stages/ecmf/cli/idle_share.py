"""Measure which share of a fusion's parameters is idle where its sources have one row per clip.

The share depends on the sources, so that of a training is logged when it starts
(`training/idle_parameters.py`). Here it is that of fixed random sources and of the default options.
"""

import functools

import numpy as np
import torch

from ecmf.data.features import Source
from ecmf.params import BRANCHES, Branch, TrainFusion
from ecmf.training.dataset import Dataset
from ecmf.training.idle_parameters import find_idle
from ecmf.training.targets import class_targets

DIM = 256
CLIPS = 128
CLASSES = 6

PAIR: tuple[Branch, ...] = ("audio", "text")


def describe_idle_share(model: str) -> str:
    """Say which share of a fusion's parameters gets no gradient from one row per clip."""
    every, pair = (100 * idle_share(model, branches) for branches in (BRANCHES, PAIR))
    return (
        f"idle with one row per clip: {every:.0f} % of its parameters ({len(BRANCHES)} branches), "
        f"{pair:.0f} % ({', '.join(PAIR)} alone)"
    )


@functools.cache
def idle_share(model: str, branches: tuple[Branch, ...]) -> float:
    """Return the idle share of a fusion of one source per branch, a row of `DIM` numbers each."""
    rng = np.random.default_rng(0)
    starts = np.arange(CLIPS + 1)
    sources = [
        Source(f"{branch}/a", rng.normal(size=(CLIPS, DIM)).astype("float32"), starts, {})
        for branch in branches
    ]
    classes = np.eye(CLASSES, dtype="float32")[np.arange(CLIPS) % CLASSES]
    targets = class_targets(classes, np.ones(CLIPS, "float32"))
    dataset = Dataset(sources, torch.device("cpu"))
    params = TrainFusion.model_validate({"model": model})
    return find_idle(dataset, targets, np.arange(CLIPS), params).share
