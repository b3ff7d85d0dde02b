"""Train a module epoch by epoch: the loop of single, vmap and self-supervised training."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from torch import Tensor, nn

from ecmf.params import TrainFusion
from ecmf.training.optimizers import make_optimizer, make_schedule

Batch = TypeVar("Batch")
ClipGradients = Callable[[nn.Module, float], None]


def clip_gradient_norm(module: nn.Module, max_norm: float) -> None:
    """Clip the norm of all gradients of `module` to `max_norm`."""
    nn.utils.clip_grad_norm_(module.parameters(), max_norm)


def train_epochs(
    module: nn.Module,
    draw: Callable[[], Iterable[Batch]],
    loss: Callable[[Batch], tuple[Tensor, int | Tensor]],
    params: TrainFusion,
    *,
    batches: int,
    epochs: int,
    after_step: Callable[[], None] = lambda: None,
    clip_gradients: ClipGradients = clip_gradient_norm,
) -> Iterator[Tensor]:
    """Yield the loss of each epoch, summed over its clips, after the epoch.

    The caller evaluates the module in between, and ends the training by not asking for more.

    Args:
        module: The module, whose trainable parameters are optimised.
        draw: Draws the batches of one epoch.
        loss: Returns the mean loss of a batch and its number of clips: a scalar and an integer, or
            (runs,) each for runs that are trained together.
        params: Optimiser, schedule and gradient clipping.
        batches: Number of batches of each epoch.
        epochs: Maximum number of epochs, over which the learning rate is scheduled.
        after_step: Called after each step of the optimiser.
        clip_gradients: Clips the norm of all gradients of the module to a maximum.
    """
    optimizer = make_optimizer(module, params)
    schedule = make_schedule(optimizer, batches * epochs, params)
    for _ in range(epochs):
        module.train()
        total: Tensor | None = None
        for batch in draw():
            mean, clips = loss(batch)
            optimizer.zero_grad()
            mean.sum().backward()  # type: ignore[no-untyped-call]
            if params.gradient_clip:
                clip_gradients(module, params.gradient_clip)
            optimizer.step()
            schedule.step()
            after_step()
            summed = mean.detach() * clips
            total = summed if total is None else total + summed
        if total is None:
            raise ValueError("an epoch has no batch")
        yield total
