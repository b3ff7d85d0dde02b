"""Dropout meets its rate, keeps the mean, and draws anew for every model under vmap."""

import pytest
import torch
from torch.func import vmap

from ecmf.fusion.layers.dropout import Dropout, dropout


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.9])
def test_values_are_dropped_at_the_rate_and_the_others_scaled_up(rate):
    torch.manual_seed(0)
    values = torch.ones(1000, 1001)
    dropped = dropout(values, rate, training=True)
    assert (dropped == 0).float().mean().item() == pytest.approx(rate, abs=3e-3)
    assert dropped.mean().item() == pytest.approx(1, abs=3e-3 / (1 - rate))
    assert dropped.unique().tolist() == pytest.approx([0, 1 / (1 - rate)], rel=1e-4)


def test_neighbours_are_dropped_independently_of_each_other():
    torch.manual_seed(0)
    zero = (dropout(torch.ones(400_000), 0.3, training=True) == 0).view(-1, 4).float()
    together = torch.corrcoef(zero.T) - torch.eye(4)
    assert together.abs().max() < 0.02
    assert (zero.mean(dim=0) - 0.3).abs().max() < 0.01


def test_the_seed_determines_the_dropped_values():
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(dropout(torch.ones(50, 3), 0.5, training=True))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_the_gradient_flows_through_the_remaining_values():
    torch.manual_seed(0)
    values = torch.ones(40, 5, requires_grad=True)
    dropped = dropout(values, 0.5, training=True)
    dropped.sum().backward()
    assert torch.equal(values.grad, dropped.detach())


@pytest.mark.parametrize("shape", [(0, 4), (1,), (), (7, 3, 5)])
def test_shape_and_dtype_are_preserved(shape):
    for dtype in (torch.float32, torch.bfloat16):
        dropped = dropout(torch.ones(shape, dtype=dtype), 0.5, training=True)
        assert dropped.shape == shape and dropped.dtype == dtype


def test_outside_training_nothing_is_dropped():
    values = torch.randn(8, 4)
    assert Dropout(0.5).eval()(values) is values
    assert Dropout(0.0).train()(values) is values


def test_models_under_vmap_drop_different_values():
    torch.manual_seed(0)
    layer = Dropout(0.5).train()
    first, second = vmap(layer, randomness="different")(torch.ones(2, 64))
    assert not torch.equal(first, second)
