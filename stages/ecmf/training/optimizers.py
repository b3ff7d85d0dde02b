"""Build the optimizer, the learning rate schedule and the weight EMA of a training."""

from contextlib import AbstractContextManager

import torch
from torch import nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler, OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ecmf import precision
from ecmf.params import TrainFusion
from ecmf.training.model import Model


def make_optimizer(module: nn.Module, params: TrainFusion) -> Optimizer:
    """Build the optimizer over the trainable parameters."""
    kind: type[AdamW | Adam] = AdamW if params.optimizer == "adamw" else Adam
    return kind(
        [parameter for parameter in module.parameters() if parameter.requires_grad],
        lr=params.learning_rate,
        weight_decay=params.weight_decay,
        fused=True,
    )


def make_schedule(optimizer: Optimizer, steps: int, params: TrainFusion) -> LRScheduler:
    """Build the learning rate schedule over all `steps` of a training."""
    if params.schedule == "one_cycle":
        return OneCycleLR(optimizer, params.learning_rate, total_steps=steps)
    if params.schedule == "cosine":
        return CosineAnnealingLR(optimizer, steps)
    return ConstantLR(optimizer, factor=1.0)


def make_weight_ema(model: Model, params: TrainFusion) -> AveragedModel | None:
    """Build the exponential moving average of the weights, or None if it is off."""
    if not params.weight_ema:
        return None
    average = get_ema_multi_avg_fn(params.weight_ema)  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=average)


def autocast(device: torch.device, params: TrainFusion) -> AbstractContextManager[None]:
    """Return the autocast context for computing a loss."""
    return precision.autocast(device.type, getattr(torch, params.precision))
