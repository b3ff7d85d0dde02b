"""EGMF: experts, and gates over them and over the sources."""

import pytest
import torch
from made_clips import made_batch, made_fusion

from ecmf.fusion.egmf import LocalExpert

STEPS = {
    "face/a": [6, 0, 3, 2, 5, 0, 1, 4],
    "audio/b": [2, 3, 0, 4, 2, 0, 3, 1],
    "text/c": [1, 1, 0, 1, 1, 0, 1, 1],
}
CLIPS = 8
ALONE = 2
NOBODY = 5


@pytest.fixture
def batch():
    return made_batch(STEPS)


def test_the_gates_over_experts_and_over_sources_sum_to_one(batch):
    fusion = made_fusion("egmf", batch)
    present = batch.present()
    _, gates = fusion.ask(fusion.projection(batch))
    assert gates.shape == (CLIPS, 3, 3) and (gates >= 0).all()
    assert torch.allclose(gates.sum(dim=2), present.float())
    weights = fusion(batch).weights
    assert torch.allclose(weights.sum(dim=1), present.any(dim=1).float())
    assert (weights[present] > 0).all()


def test_the_expert_for_correlation_is_closed_to_a_source_that_stands_alone(batch):
    fusion = made_fusion("egmf", batch)
    _, gates = fusion.ask(fusion.projection(batch))
    correlation = gates[:, :, 2]
    assert (correlation[ALONE] == 0).all() and (gates[ALONE, 0, :2] > 0).all()
    others = batch.present()
    others[ALONE] = False
    assert (correlation[others] > 0).all()


def test_a_single_source_is_heard_by_two_experts():
    batch = made_batch({"audio/b": [1, 2, 3, 4] * 2})
    fusion = made_fusion("egmf", batch)
    _, gates = fusion.ask(fusion.projection(batch))
    assert gates.shape == (CLIPS, 1, 2) and torch.allclose(gates.sum(dim=2), torch.ones(CLIPS, 1))


def test_the_local_expert_hears_two_steps_to_each_side_and_no_further():
    torch.manual_seed(0)
    expert = LocalExpert(4)
    rows, mask = torch.randn(1, 9, 4), torch.ones(1, 9, dtype=torch.bool)
    changed = rows.clone()
    changed[0, 4] += 1
    differs = (expert(rows, mask) != expert(changed, mask)).any(dim=-1)[0]
    assert differs.tolist() == [False, False, True, True, True, True, True, False, False]


def test_the_expert_for_context_knows_the_order_of_the_steps():
    batch = made_batch({"audio/b": [4] * CLIPS})
    fusion = made_fusion("egmf", batch)
    ((rows, mask),) = fusion.projection(batch)
    torch.nn.init.zeros_(fusion.local.second.weight)  # it would know the order, too
    turned, _ = fusion.ask([(rows.flip(1), mask)])
    straight, _ = fusion.ask([(rows, mask)])
    assert not torch.allclose(straight, turned, atol=1e-4)
