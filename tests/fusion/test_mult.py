"""MulT: every source attends to the steps of every other one."""

import pytest
import torch
from made_clips import make_batch, make_fusion

from ecmf.errors import ParamsError
from ecmf.fusion.base import Batch
from ecmf.fusion.layers.sequences import Transformer
from ecmf.fusion.mult import LastStep

CLIPS = 8


@pytest.mark.parametrize("target", range(3))
def test_a_target_depends_on_every_step_of_every_source(target):
    batch = make_batch({"face/a": [2] * CLIPS, "audio/b": [9] * CLIPS, "text/c": [5] * CLIPS})
    fusion = make_fusion("mult", batch)
    for rows in batch.rows.values():
        rows.requires_grad_()
    with torch.no_grad():  # read this target alone
        parts = fusion.classifier.weight.unflatten(1, (3, -1))
        parts[:, [other for other in range(3) if other != target]] = 0
    fusion(batch).logits.square().sum().backward()
    for name, rows in batch.rows.items():
        assert (rows.grad.abs().sum(dim=2) > 0).all(), name


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("name", ["face/a", "audio/b", "text/c"])
def test_the_order_of_the_steps_before_the_last_matters(name, kernel):
    batch = make_batch({source: [5] * CLIPS for source in ("face/a", "audio/b", "text/c")})
    fusion = make_fusion("mult", batch, kernel=kernel)
    swapped = Batch({**batch.rows, name: batch.rows[name][:, [0, 2, 1, 3, 4]]}, batch.masks)
    assert not torch.allclose(fusion(batch).logits, fusion(swapped).logits, atol=1e-4)


def test_the_last_step_alone_equals_that_of_the_whole_transformer():
    torch.manual_seed(0)
    whole, last = (kind(8, 2, 3, 0.0).eval() for kind in (Transformer, LastStep))
    last.before.load_state_dict(whole.layers[:2].state_dict())
    last.layer.load_state_dict(whole.layers[2].state_dict())
    last.norm.load_state_dict(whole.norm.state_dict())
    counts = torch.tensor([4, 1, 0, 3])
    mask = torch.arange(4) < counts[:, None]
    rows = torch.randn(4, 4, 8) * mask[..., None]
    expected = whole(rows, mask)[torch.arange(4), (counts - 1).clamp(min=0)]
    assert torch.allclose(last(rows, mask), expected, atol=1e-6)
    assert (last(rows, mask)[2] == 0).all()


def test_an_even_kernel_is_refused():
    with pytest.raises(ParamsError, match="kernel 4 has no middle step: choose an odd number"):
        make_fusion("mult", make_batch({"audio/a": [2]}), kernel=4)
