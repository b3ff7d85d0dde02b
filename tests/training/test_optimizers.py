"""Schedules, clipping and averaging do what their parameters say."""

import pytest
import torch
from made_clips import untrained

from ecmf.fusion.base import SourceShape
from ecmf.params import TrainFusion
from ecmf.training.epochs import train_epochs
from ecmf.training.optimizers import make_optimizer, make_schedule, make_weight_ema


def rates(**change):
    params = TrainFusion(epochs=10, learning_rate=0.1, **change)
    layer = torch.nn.Linear(2, 2)
    optimiser = make_optimizer(layer, params)
    schedule = make_schedule(optimiser, 50, params)
    found = []
    for _ in range(50):
        found.append(optimiser.param_groups[0]["lr"])
        layer(torch.ones(1, 2)).sum().backward()
        optimiser.step()
        schedule.step()
    return found


def test_one_cycle_rises_to_the_rate_and_falls_to_nothing():
    found = rates(schedule="one_cycle")
    assert max(found) == pytest.approx(0.1) and 5 < found.index(max(found)) < 25
    assert found[0] < 0.01 and found[-1] < 1e-3


def test_cosine_starts_at_the_rate_and_falls_to_nothing():
    found = rates(schedule="cosine")
    assert found[0] == pytest.approx(0.1) and found == sorted(found, reverse=True)
    assert found[-1] < 1e-3


def test_adamw_decays_the_weights_and_adam_adds_l2_to_the_gradient():
    """Without a gradient, the first step of Adam is the learning rate in the sign of the L2."""
    moved = {}
    for optimizer in ("adamw", "adam"):
        layer = torch.nn.Linear(3, 2, bias=False)
        before = layer.weight.detach().clone()
        params = TrainFusion(optimizer=optimizer, learning_rate=0.01, weight_decay=0.1)
        layer.weight.grad = torch.zeros_like(before)
        make_optimizer(layer, params).step()
        moved[optimizer] = (before, layer.weight.detach())
    before, after = moved["adamw"]
    assert torch.allclose(after, before * (1 - 0.01 * 0.1))
    before, after = moved["adam"]
    assert torch.allclose(after, before - 0.01 * before.sign(), atol=1e-5)


def test_constant_is_constant():
    assert rates(schedule="constant") == [0.1] * 50


def test_no_gradient_is_longer_than_it_may_be():
    def length(gradient_clip):
        layer = torch.nn.Linear(3, 3)
        epochs = train_epochs(
            layer, lambda: [torch.ones(1, 3)], lambda batch: (100 * layer(batch).sum(), 1),
            TrainFusion(gradient_clip=gradient_clip), batches=1, epochs=1,
        )  # fmt: skip
        next(epochs)
        return torch.cat([parameter.grad.flatten() for parameter in layer.parameters()]).norm()

    assert length(0.0) > 100 and length(0.5) == pytest.approx(0.5, rel=1e-3)


def test_averaged_weights_follow_the_weights_as_slowly_as_set():
    model = untrained("concat", [SourceShape("audio/a", 3)], classes=2)
    assert make_weight_ema(model, TrainFusion(weight_ema=0.0)) is None
    averaged = make_weight_ema(model, TrainFusion(weight_ema=0.9))
    weight = model.fusion.classifier.weight
    expected = weight.detach().clone()
    averaged.update_parameters(model)
    for _ in range(3):
        with torch.no_grad():
            weight.add_(1.0)
        averaged.update_parameters(model)
        expected = 0.9 * expected + 0.1 * weight.detach()
    assert torch.allclose(averaged.module.fusion.classifier.weight, expected)
