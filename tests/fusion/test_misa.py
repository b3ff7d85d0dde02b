"""MISA separates shared from private vectors of the sources."""

import numpy as np
import pytest
import torch
from made_clips import make_batch, make_fusion, make_target
from scipy.stats import moment

from ecmf.fusion.misa import central_moment_discrepancy, orthogonality_loss

NAMES = ("audio/a", "audio/b", "audio/c")
ALL = torch.ones(4, dtype=torch.bool)


@pytest.fixture(autouse=True)
def fixed_seed():
    torch.manual_seed(0)


def test_the_discrepancy_sums_the_differences_of_mean_and_five_central_moments():
    first, second = torch.rand(2, 4, 3)
    expected = np.linalg.norm((first - second).mean(dim=0)) + sum(
        np.linalg.norm(moment(first.numpy(), order) - moment(second.numpy(), order))
        for order in (2, 3, 4, 5)
    )
    assert central_moment_discrepancy(first, second, ALL).item() == pytest.approx(
        expected, rel=1e-5
    )
    assert central_moment_discrepancy(first, first[[1, 3, 0, 2]], ALL).item() == pytest.approx(
        0, abs=1e-6
    )


def test_the_orthogonality_loss_is_zero_for_independent_rows_and_one_for_equal_rows():
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    one, other = signs[:, :1] * torch.tensor([1.0, 0.0]), signs[:, 1:] * torch.tensor([0.0, 1.0])
    assert orthogonality_loss(one, 3 + other, ALL).item() == pytest.approx(0, abs=1e-6)
    assert orthogonality_loss(one, 3 + 2 * one, ALL).item() == pytest.approx(1)


@pytest.mark.parametrize("compare", [central_moment_discrepancy, orthogonality_loss])
def test_clips_that_lack_one_of_a_pair_are_not_compared(compare):
    first, second = torch.rand(2, 6, 3)
    some = torch.tensor([True, True, False, True, True, False])
    within = compare(first[some], second[some], ALL)
    assert torch.allclose(compare(first * some[:, None], second * some[:, None], some), within)


def test_absent_sources_enter_no_loss():
    steps = {"audio/a": [0, 3, 3, 3, 3], "audio/b": [0, 0, 3, 3, 3], "audio/c": [0, 0, 3, 3, 3]}
    batch = make_batch(steps)
    losses = make_fusion("misa", batch)(batch, make_target(5)).losses
    assert set(losses) == {"similarity", "difference", "reconstruction"}
    assert all(loss[0] == 0 and (loss[2:] > 0).all() for loss in losses.values())
    assert losses["similarity"][1] == 0
    assert losses["difference"][1] > 0 and losses["reconstruction"][1] > 0


@pytest.mark.parametrize("name", ["similarity", "difference", "reconstruction"])
def test_each_loss_can_be_minimised(name):
    batch = make_batch({source: [3] * 32 for source in NAMES})
    fusion = make_fusion("misa", batch)
    optimiser = torch.optim.Adam(fusion.parameters(), lr=3e-3)
    history = []
    for _ in range(40):
        loss = fusion(batch, make_target(32)).losses[name].mean()
        history.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert history[-1] < history[0] / 2


def test_a_batch_of_one_clip_has_finite_gradients():
    batch = make_batch({name: [3] for name in NAMES})
    fusion = make_fusion("misa", batch).train()
    output = fusion(batch, make_target(1))
    (output.logits.sum() + sum(map(torch.sum, output.losses.values()))).backward()
    assert all(parameter.grad.isfinite().all() for parameter in fusion.parameters())
