"""MulT: every source attends to the steps of every other one."""

import numpy as np
import pytest
import torch
from made_clips import make_batch, make_fusion
from torch.nn import functional

from ecmf.errors import ParamsError
from ecmf.fusion.base import Batch
from ecmf.fusion.layers.sequences import Transformer
from ecmf.fusion.mult import FEED_FORWARD, LastStep

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
    whole = Transformer(8, 2, 3, 0.0, *FEED_FORWARD).eval()
    last = LastStep(8, 2, 3, 0.0).eval()
    last.before.load_state_dict(whole.layers[:2].state_dict())
    last.layer.load_state_dict(whole.layers[2].state_dict())
    last.norm.load_state_dict(whole.norm.state_dict())
    counts = torch.tensor([4, 1, 0, 3])
    mask = torch.arange(4) < counts[:, None]
    rows = torch.randn(4, 4, 8) * mask[..., None]
    expected = whole(rows, mask)[torch.arange(4), (counts - 1).clamp(min=0)]
    assert torch.allclose(last(rows, mask), expected, atol=1e-6)
    assert (last(rows, mask)[2] == 0).all()


def embed(rows):
    """Scale (steps, width) and add sinusoids, as the published code does before a transformer."""
    steps, width = rows.shape
    half = width // 2
    angle = np.arange(steps)[:, None] / 10_000 ** (np.arange(half) / half)
    return width**0.5 * rows + torch.tensor(np.hstack([np.sin(angle), np.cos(angle)])).float()


def published_layer(weights, prefix, rows, others, heads):
    """A layer of the published code by torch's own attention: (steps, width) -> (steps, width)."""
    w = {
        key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)
    }
    width = rows.shape[-1]

    def norm(name, values):
        return functional.layer_norm(values, (width,), w[f"{name}.weight"], w[f"{name}.bias"])

    in_bias = [w["attention.query.bias"], torch.zeros(width), w["attention.value.bias"]]
    in_weight = [w[f"attention.{part}.weight"] for part in ("query", "key", "value")]
    keys = norm("norm", others)
    attended, _ = functional.multi_head_attention_forward(
        norm("norm", rows), keys, keys, width, heads, torch.cat(in_weight), torch.cat(in_bias),
        None, None, False, 0.0, w["attention.out.weight"], w["attention.out.bias"],
        training=False,
    )  # fmt: skip
    rows = rows + attended
    first, second = "feed_forward.0", "feed_forward.3"
    assert w[f"{first}.weight"].shape == (4 * width, width)
    hidden = functional.linear(norm("feed_norm", rows), w[f"{first}.weight"], w[f"{first}.bias"])
    return rows + functional.linear(hidden.relu(), w[f"{second}.weight"], w[f"{second}.bias"])


def final_norm(weights, prefix, rows):
    shape = rows.shape[-1:]
    return functional.layer_norm(rows, shape, weights[f"{prefix}weight"], weights[f"{prefix}bias"])


def test_the_logits_are_those_of_the_published_formula_on_the_same_weights():
    batch = make_batch({"audio/a": [6], "text/b": [4]})
    fusion = make_fusion("mult", batch, width=30, heads=5)
    weights = fusion.state_dict()
    first, second = (
        embed(rows[0] @ weights[f"convolutions.{number}.weight"][..., 0].T)
        for number, rows in enumerate(batch.rows.values())
    )
    last = []
    for pair, (rows, others) in enumerate(((first, second), (second, first))):
        for layer in range(5):
            prefix = f"crossmodal.{pair}.layers.{layer}."
            rows = published_layer(weights, prefix, rows, others, heads=5)
        rows = embed(final_norm(weights, f"crossmodal.{pair}.norm.", rows))
        for layer in ("before.0", "before.1", "before.2", "before.3", "layer"):
            rows = published_layer(weights, f"temporal.{pair}.{layer}.", rows, rows, heads=5)
        last.append(final_norm(weights, f"temporal.{pair}.norm.", rows)[-1])
    last = torch.cat(last)
    assert last.shape == (60,)
    one, two, out = (
        (weights[f"{name}.weight"], weights[f"{name}.bias"])
        for name in ("residual.0", "residual.1", "classifier")
    )
    hidden = functional.linear(functional.linear(last, *one).relu(), *two) + last
    expected = functional.linear(hidden, *out)
    assert torch.allclose(fusion(batch).logits[0], expected, atol=1e-5)


def test_an_even_kernel_is_refused():
    with pytest.raises(ParamsError, match="kernel 4 has no middle step: choose an odd number"):
        make_fusion("mult", make_batch({"audio/a": [2]}), kernel=4)
