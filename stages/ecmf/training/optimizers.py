"""The gradient of a loss -> a step of the weights: optimiser, schedule, clipping and averaging."""

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler, OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ecmf.params import TrainFusion
from ecmf.training.model import Model


def make_optimiser(module: nn.Module, params: TrainFusion) -> Optimizer:
    """AdamW over all that is to be learned."""
    return torch.optim.AdamW(
        [parameter for parameter in module.parameters() if parameter.requires_grad],
        lr=params.learning_rate,
        weight_decay=params.weight_decay,
        fused=True,
    )


def make_schedule(
    optimiser: Optimizer, steps: int, params: TrainFusion, epochs: int | None = None
) -> LRScheduler:
    """How the learning rate goes over all steps of all epochs."""
    total = steps * (epochs or params.epochs)
    if params.schedule == "one_cycle":
        return OneCycleLR(optimiser, params.learning_rate, total_steps=total)
    if params.schedule == "cosine":
        return CosineAnnealingLR(optimiser, total)
    return ConstantLR(optimiser, factor=1.0)


def make_average(model: Model, params: TrainFusion) -> AveragedModel | None:
    """Keep an exponential moving average of the weights, if so chosen."""
    if not params.average:
        return None
    average = get_ema_multi_avg_fn(params.average)  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=average)


def precision(device: torch.device, params: TrainFusion) -> torch.autocast:
    """Return the context in which a loss is computed."""
    return torch.autocast(device.type, torch.bfloat16, enabled=params.precision == "bfloat16")


def step(module: nn.Module, loss: Tensor, optimiser: Optimizer, params: TrainFusion) -> None:
    """Move the weights down the loss, the norm of all gradients clipped if so chosen."""
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    if params.gradient_clip:
        nn.utils.clip_grad_norm_(module.parameters(), params.gradient_clip)
    optimiser.step()
