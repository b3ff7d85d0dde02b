"""EGMF: experts, and gates over them and over the sources."""

import pytest
import torch
from made_clips import make_batch, make_fusion

from ecmf.fusion.egmf import LocalExpert

STEPS = {
    "face/a": [6, 0, 3, 2, 5, 0, 1, 4],
    "audio/b": [2, 3, 0, 4, 2, 0, 3, 1],
    "text/c": [1, 1, 0, 1, 1, 0, 1, 1],
}
CLIPS = 8
ONE_SOURCE = 2
NO_SOURCE = 5


@pytest.fixture
def batch():
    return make_batch(STEPS)


def test_the_gates_over_experts_and_over_sources_sum_to_one(batch):
    fusion = make_fusion("egmf", batch)
    present = batch.presence()
    _, gates = fusion.run_experts(fusion.projection(batch))
    assert gates.shape == (CLIPS, 3, 3) and (gates >= 0).all()
    assert torch.allclose(gates.sum(dim=2), present.float())
    weights = fusion(batch).weights
    assert torch.allclose(weights.sum(dim=1), present.any(dim=1).float())
    assert (weights[present] > 0).all()


def test_the_correlation_expert_is_closed_where_a_clip_has_one_source(batch):
    fusion = make_fusion("egmf", batch)
    _, gates = fusion.run_experts(fusion.projection(batch))
    correlation = gates[:, :, 2]
    assert (correlation[ONE_SOURCE] == 0).all() and (gates[ONE_SOURCE, 0, :2] > 0).all()
    others = batch.presence()
    others[ONE_SOURCE] = False
    assert (correlation[others] > 0).all()


def test_a_model_of_one_source_has_two_experts():
    batch = make_batch({"audio/b": [1, 2, 3, 4] * 2})
    fusion = make_fusion("egmf", batch)
    _, gates = fusion.run_experts(fusion.projection(batch))
    assert gates.shape == (CLIPS, 1, 2) and torch.allclose(gates.sum(dim=2), torch.ones(CLIPS, 1))


def test_the_local_expert_reads_two_steps_to_each_side_and_no_further():
    torch.manual_seed(0)
    expert = LocalExpert(4)
    rows, mask = torch.randn(1, 9, 4), torch.ones(1, 9, dtype=torch.bool)
    changed = rows.clone()
    changed[0, 4] += 1
    differs = (expert(rows, mask) != expert(changed, mask)).any(dim=-1)[0]
    assert differs.tolist() == [False, False, True, True, True, True, True, False, False]


def test_the_expert_for_global_context_depends_on_the_order_of_the_steps():
    batch = make_batch({"audio/b": [4] * CLIPS})
    fusion = make_fusion("egmf", batch)
    ((rows, mask),) = fusion.projection(batch)
    torch.nn.init.zeros_(fusion.local.second.weight)  # it would depend on the order, too
    reverse, _ = fusion.run_experts([(rows.flip(1), mask)])
    straight, _ = fusion.run_experts([(rows, mask)])
    assert not torch.allclose(straight, reverse, atol=1e-4)
