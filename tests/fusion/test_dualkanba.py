"""Parts of `dualkanba`: learned curves, parallel scan, sparse attention, gate."""

import numpy as np
import pytest
import torch
from made_clips import make_batch, make_fusion, without
from scipy.interpolate import BSpline

from ecmf.errors import ParamsError
from ecmf.fusion.base import Batch
from ecmf.fusion.layers.kolmogorov_arnold import KolmogorovArnold
from ecmf.fusion.layers.sparse_attention import SparseAttention
from ecmf.fusion.layers.state_space import SelectiveStateSpace, scan


@pytest.mark.parametrize("spline", [False, True])
def test_one_layer_learns_a_curve_of_each_input(spline):
    torch.manual_seed(0)
    layer = KolmogorovArnold(2, 1, bases=8, spline=spline)
    rows = torch.rand(200, 2) * 2 - 1
    truth = torch.sin(4 * rows[:, :1]) + rows[:, 1:] ** 2
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.03)
    for _ in range(300):
        loss = (layer(rows) - truth).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.01 * truth.var()


def test_the_splines_are_the_cubic_b_splines_of_the_grid():
    """Five intervals over [-1, 1], continued by three knots on either side, as in the KAN paper."""
    layer = KolmogorovArnold(1, 8, bases=8, spline=True)
    with torch.no_grad():
        layer.base.weight.zero_()
        layer.base.bias.zero_()
        layer.curves.weight.copy_(torch.eye(8))
    knots = -1 + 0.4 * np.arange(-3, 9)
    inputs = np.linspace(-1, 1, 41)[:-1]
    expected = BSpline.design_matrix(inputs, knots, 3).toarray()
    values = layer(torch.tensor(inputs, dtype=torch.float32)[:, None])
    assert np.allclose(values.detach().numpy(), expected, atol=1e-6)


def test_too_few_splines_are_refused():
    with pytest.raises(ParamsError, match="cubic splines over one interval are 4: choose 4"):
        make_fusion("dualkanba", make_batch({"audio/a": [2]}), curves="spline", basis_functions=3)


def test_the_parallel_scan_equals_the_recurrence():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(2, 7, 3, 4, generator=generator)
    decay = (
        -torch.rand(2, 7, 3, generator=generator) * 40
    )  # some decay fully: no exponent may overflow
    write, read = (torch.randn(2, 7, 5, generator=generator) for _ in range(2))
    state = torch.zeros(2, 3, 4, 5)
    steps = []
    for step in range(7):
        added = torch.einsum("bhd,bn->bhdn", inputs[:, step], write[:, step])
        state = decay[:, step].exp()[..., None, None] * state + added
        steps.append(torch.einsum("bhdn,bn->bhd", state, read[:, step]))
    assert torch.allclose(scan(inputs, decay, write, read), torch.stack(steps, dim=1), atol=1e-5)


def test_the_state_space_is_causal_and_remembers_earlier_steps():
    torch.manual_seed(0)
    module = SelectiveStateSpace(8, heads=2, state=4)
    rows, mask = torch.randn(1, 12, 8), torch.ones(1, 12, dtype=torch.bool)
    changed = rows.clone()
    changed[:, 5] += 1
    before, after = module(rows, mask), module(changed, mask)
    assert torch.equal(before[:, :5], after[:, :5])
    moved = (before - after).abs().amax(dim=2)[0]
    assert (moved[5:] > 1e-6).all()  # also beyond the reach of the convolution


def test_of_a_block_that_is_not_selected_a_query_reads_the_mean_alone():
    torch.manual_seed(0)
    attention = SparseAttention(8, heads=1, block_size=2, top_blocks=1)
    rows, mask = torch.randn(1, 8, 8), torch.ones(1, 8, dtype=torch.bool)
    keys = attention.key(rows).unflatten(1, (4, 2)).mean(dim=2)
    selected = (attention.query(rows) @ keys.transpose(1, 2)).argmax(dim=2)[0]
    block = int(selected[0])
    apart = rows.clone()
    apart[:, 2 * block] += 1
    apart[:, 2 * block + 1] -= 1  # the mean of the block stays
    moved = (attention(rows, mask) - attention(apart, mask)).abs().amax(dim=2)[0] > 1e-5
    others = torch.arange(8) // 2 != block
    assert torch.equal(moved[others], (selected == block)[others])
    assert (selected[others] == block).any() and (selected[others] != block).any()


def test_attention_is_the_formula_of_its_three_branches():
    """One head, written out query by query: blocks of 2, the best one, and the next neighbours."""
    torch.manual_seed(0)
    layer = SparseAttention(4, heads=1, block_size=2, top_blocks=1, window=1, driven=True)
    rows, aspect = torch.randn(6, 4), torch.randn(4)
    queries = layer.query(rows) + layer.aspect.weight @ aspect
    keys, values, gates = layer.key(rows), layer.value(rows), layer.gate(rows).softmax(dim=1)
    expected = []
    for step, (query, gate) in enumerate(zip(queries, gates, strict=True)):
        scores = keys @ query / 2
        blocks = keys.unflatten(0, (3, 2)).mean(dim=1) @ query / 2
        first = 2 * int(blocks.argmax())
        near = slice(max(0, step - 1), step + 2)
        branches = torch.stack(
            [
                blocks.softmax(dim=0) @ values.unflatten(0, (3, 2)).mean(dim=1),
                scores[first : first + 2].softmax(dim=0) @ values[first : first + 2],
                scores[near].softmax(dim=0) @ values[near],
            ]
        )
        expected.append(gate @ branches)
    actual = layer(rows[None], torch.ones(1, 6, dtype=torch.bool), aspect[None])
    assert torch.allclose(actual[0], layer.out(torch.stack(expected)), atol=1e-6)


@pytest.mark.parametrize("aspect", [True, False])
def test_the_text_drives_the_attention_of_the_other_sources(aspect):
    batch = make_batch({"audio/a": [9, 9], "text/b": [3, 3]})
    other = make_batch({"audio/a": [9, 9], "text/b": [3, 3]}, seed=1).rows["text/b"]
    fusion = make_fusion("dualkanba", batch, aspect=aspect)
    encoded = []
    fusion.formers[0].register_forward_hook(lambda _, __, output: encoded.append(output))
    for inputs in (
        batch,
        Batch({**batch.rows, "text/b": other}, batch.masks),
        without(batch, "text/b"),
    ):
        fusion(inputs)
    own, another, none = encoded
    assert torch.equal(own, another) != aspect
    assert torch.equal(own, none) != aspect


def test_the_gate_of_two_sources_is_a_sigmoid_and_zero_for_an_absent_one():
    batch = make_batch({"audio/a": [4] * 5, "text/b": [1] * 5})
    fusion = make_fusion("dualkanba", batch, width=8)
    vector = torch.randn(5, 2, 8)
    present = torch.ones(5, 2, dtype=torch.bool)
    present[4, 1] = False
    gate = fusion._gate(vector, present)
    scores = fusion.gate(vector.flatten(1))
    assert torch.allclose(gate[:4, 0], torch.sigmoid(scores[:4, :8] - scores[:4, 8:]))
    assert torch.allclose(gate.sum(dim=1), torch.ones(5, 8))
    assert (gate[4, 1] == 0).all()
    assert torch.allclose(fusion(batch).weights.sum(dim=1), torch.ones(5))
