"""Find the parameters of a model that stay idle because its sources have one row per clip.

Attention to a single step is 1 whatever its weights are: they get no gradient. The gradients on
real batches are compared with those on the same batches with a second row, that of another clip, in
every such source. A parameter without a gradient in the former alone is idle.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ecmf.data.splits import Indices
from ecmf.fusion.base import Batch
from ecmf.params import TrainFusion
from ecmf.training.dataset import Dataset
from ecmf.training.model import Model, build
from ecmf.training.targets import TargetTensors
from ecmf.training.task import Targets

CLIPS = 256
"""Clips whose gradients are added: some units of a layer are off for each clip."""

NEGLIGIBLE = 1e-6
"""Fraction of a gradient that is rounding error."""

MIN_SHARE = 0.005
"""Share of idle parameters that is reported."""

PARTS = 6
"""Number of parts that are named, those with most idle parameters first."""

log = logging.getLogger(__name__)


class Idle(NamedTuple):
    """Idle parameters of a model: their share of all, and by part of the model their number."""

    sources: list[str]
    share: float
    parts: dict[str, int]


def warn_of_idle_parameters(
    dataset: Dataset, targets: Targets, train: Indices, params: TrainFusion
) -> None:
    """Log once which part of the model `params.model` gets no gradient on these clips."""
    idle = find_idle(dataset, targets, train, params)
    if idle.share < MIN_SHARE:
        return
    total = sum(idle.parts.values())
    named = [f"{part} ({count / total:.0%})" for part, count in list(idle.parts.items())[:PARTS]]
    log.warning(
        "%s: %.1f %% of its parameters get no gradient, since %s have one row per clip: of these "
        "parameters %s. Give these sources several rows (rows: step or token, window_seconds), or "
        "choose a model that needs none",
        params.model, 100 * idle.share, ", ".join(idle.sources), ", ".join(named),
    )  # fmt: skip


def find_idle(dataset: Dataset, targets: Targets, train: Indices, params: TrainFusion) -> Idle:
    """Compare the gradients of the untrained model on the first batches of `train`."""
    single = dataset.single_row_sources(train)
    if not single:
        return Idle([], 0.0, {})
    clips = torch.from_numpy(train[targets.weight[train] > 0][:CLIPS])
    batch = dataset.batch(clips)
    tensors = TargetTensors(targets, dataset.device, params.label_smoothing)
    whole = params.model_copy(update={"input_dropout": False})  # dropped features are not idle
    model = build(targets.task, whole, dataset.shapes, seed=0).to(dataset.device).train()
    if params.standardise == "corpus":
        model.set_scale(dataset.moments(train))
    without = _gradients(model, batch, tensors, clips)
    with_second = _gradients(model, _second_rows(batch, single), tensors, clips)
    parts: Counter[str] = Counter()
    for name, gradient in with_second.items():
        trained = gradient.abs() > NEGLIGIBLE * gradient.abs().max()
        idle = trained & (without[name].abs() <= NEGLIGIBLE * gradient.abs())
        parts[_part(name)] += int(idle.sum())
    total = sum(gradient.numel() for gradient in with_second.values())
    return Idle(single, parts.total() / total, {k: n for k, n in parts.most_common() if n})


def _gradients(
    model: Model, batch: Batch, tensors: TargetTensors, clips: Tensor
) -> dict[str, Tensor]:
    """Return the gradient of the loss over the batch by parameter; zeros where there is none."""
    model.zero_grad()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        target = tensors.batch(clips)
        output = model(batch, target)
        losses = target.loss(output.logits) + sum(output.losses.values())
        losses.sum().backward()
    return {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
        for name, parameter in model.named_parameters()
    }


def _second_rows(batch: Batch, names: Sequence[str]) -> Batch:
    """Append to the row of each clip that of the clip before it in the batch."""
    rows, masks = dict(batch.rows), dict(batch.masks)
    for name in names:
        rows[name] = torch.cat([rows[name], rows[name].roll(1, dims=0)], dim=1)
        masks[name] = torch.cat([masks[name], masks[name] & masks[name].roll(1, dims=0)], dim=1)
    return Batch(rows, masks)


def _part(parameter: str) -> str:
    """Name the module of a parameter without its number: `fusion.cross.3.query.bias`, cross.query.

    Layers of a list, and streams of several sources, are one part.
    """
    names = parameter.split(".")[1:-1] or parameter.split(".")[-1:]
    return ".".join(name for name in names if not name.isdecimal()) or names[0]
