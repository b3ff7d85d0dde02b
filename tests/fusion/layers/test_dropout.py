"""Dropout drops as often as it says, keeps the mean, and draws anew for every model of a stack."""

import pytest
import torch
from torch.func import vmap

from ecmf.fusion.layers.dropout import LEAST_SHARE, Dropout, InputDropout, dropout


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
def test_a_share_is_zero_and_the_others_are_larger_for_it(share):
    torch.manual_seed(0)
    values = torch.ones(1000, 1001)
    dropped = dropout(values, share, training=True)
    assert (dropped == 0).float().mean().item() == pytest.approx(share, abs=3e-3)
    assert dropped.mean().item() == pytest.approx(1, abs=3e-3 / (1 - share))
    assert dropped.unique().tolist() == pytest.approx([0, 1 / (1 - share)], rel=1e-4)


def test_neighbours_are_dropped_independently_of_each_other():
    torch.manual_seed(0)
    zero = (dropout(torch.ones(400_000), 0.3, training=True) == 0).view(-1, 4).float()
    together = torch.corrcoef(zero.T) - torch.eye(4)
    assert together.abs().max() < 0.02
    assert (zero.mean(dim=0) - 0.3).abs().max() < 0.01


def test_the_seed_decides_what_is_dropped():
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(dropout(torch.ones(50, 3), 0.5, training=True))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_the_gradient_goes_through_what_was_kept():
    torch.manual_seed(0)
    values = torch.ones(40, 5, requires_grad=True)
    dropped = dropout(values, 0.5, training=True)
    dropped.sum().backward()
    assert torch.equal(values.grad, dropped.detach())


@pytest.mark.parametrize("shape", [(0, 4), (1,), (), (7, 3, 5)])
def test_any_shape_and_precision_stays_as_it_is(shape):
    for dtype in (torch.float32, torch.bfloat16):
        dropped = dropout(torch.ones(shape, dtype=dtype), 0.5, training=True)
        assert dropped.shape == shape and dropped.dtype == dtype


def test_outside_training_nothing_is_dropped():
    values = torch.randn(8, 4)
    assert Dropout(0.5).eval()(values) is values
    assert Dropout(0.0).train()(values) is values


def test_models_of_a_stack_drop_other_numbers():
    torch.manual_seed(0)
    layer = Dropout(0.5).train()
    one, other = vmap(layer, randomness="different")(torch.ones(2, 64))
    assert not torch.equal(one, other)


def test_a_hidden_feature_is_hidden_in_every_step_of_its_clip_and_of_no_other():
    torch.manual_seed(0)
    rows = torch.ones(200, 6, 50)
    layer = InputDropout(50)
    gone = layer(rows) == 0
    assert (gone == gone[:, :1]).all()
    assert gone.double().mean().item() == pytest.approx(layer.share, abs=0.02)
    assert len(set(map(tuple, gone[:, 0].tolist()))) > 100, "each clip draws its own"
    assert torch.equal(layer.eval()(rows), rows)


def test_the_wider_a_source_the_more_of_it_is_hidden():
    shares = [InputDropout(dim).share for dim in (3, 35, 192, 678)]
    assert shares[:2] == [LEAST_SHARE, LEAST_SHARE]
    assert shares[2:] == pytest.approx([0.59, 0.78], abs=0.01)
