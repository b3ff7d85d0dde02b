"""Layers over sequences: padding has no effect, and an empty sequence gives zeros, never NaN."""

import math

import pytest
import torch
from made_clips import make_batch

from ecmf.fusion.layers.sequences import (
    Attention,
    Transformer,
    TransformerLayer,
    add_positions,
    concatenate,
    resample,
)

WIDTH = 8
STEPS, OTHER_STEPS = [4, 2, 0, 3], [1, 3, 2, 0]
LAYERS = {
    "Attention": lambda: Attention(WIDTH, 2, 0.1),
    "TransformerLayer": lambda: TransformerLayer(WIDTH, 2, 0.1),
    "Transformer": lambda: Transformer(WIDTH, 2, 2, 0.1),
}


@pytest.fixture(autouse=True)
def fixed_seed():
    torch.manual_seed(0)


def make_streams():
    names = {"audio/a": STEPS, "text/b": OTHER_STEPS}
    batch = make_batch(names, dims=dict.fromkeys(names, WIDTH))
    return [(batch.rows[name], batch.masks[name]) for name in names]


def padded(rows, mask):
    """Return the sequence with noise in its padding, and three more steps of padding."""
    noisy = torch.where(mask[..., None], rows, torch.randn_like(rows))
    more = torch.randn(len(rows), 3, rows.shape[-1])
    return torch.cat([noisy, more], dim=1), torch.nn.functional.pad(mask, (0, 3))


def attend(layer, queries, stream):
    """Let the steps of `queries` attend to those of `stream`."""
    if isinstance(layer, Attention):
        return layer(queries[0], *stream)
    return layer(*queries, stream)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("context", [0, 1], ids=["itself", "another"])
def test_padding_values_change_no_real_step(name, context):
    layer, streams = LAYERS[name]().eval(), make_streams()
    mask = streams[0][1]
    more = [padded(*stream) for stream in streams]
    before = attend(layer, streams[0], streams[context])
    after = attend(layer, more[0], more[context])[:, : mask.shape[1]]
    assert before[mask].abs().sum() > 0
    assert torch.allclose(before[mask], after[mask], atol=1e-6)


@pytest.mark.parametrize("name", ["TransformerLayer", "Transformer"])
def test_masked_steps_become_zeros(name):
    rows, mask = padded(*make_streams()[0])
    assert (LAYERS[name]()(rows, mask)[~mask] == 0).all()


def test_attention_to_an_empty_sequence_is_zero_and_has_finite_gradients():
    layer, (queries, stream) = LAYERS["Attention"](), make_streams()
    rows = stream[0].requires_grad_()
    attended = layer(queries[0], rows, stream[1])
    assert (attended[3] == 0).all() and (attended[:3].abs().sum(dim=2) > 0).all()
    attended.square().sum().backward()
    for gradient in (rows.grad, *(parameter.grad for parameter in layer.parameters())):
        assert gradient.isfinite().all() and gradient.abs().sum() > 0


def test_a_layer_whose_context_is_empty_returns_the_residual():
    layer, (queries, _) = LAYERS["TransformerLayer"]().eval(), make_streams()
    rows, mask = queries
    empty = (rows, torch.zeros_like(mask))
    expected = (rows + layer.feed_forward(layer.feed_norm(rows))) * mask[..., None]
    assert torch.allclose(layer(rows, mask, empty), expected)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="width 8 is no multiple of heads 3"):
        Attention(WIDTH, 3, 0.0)


def test_streams_are_concatenated_in_order():
    streams = make_streams()
    rows, mask = concatenate(streams)
    assert torch.equal(rows[:, :4], streams[0][0]) and torch.equal(rows[:, 4:], streams[1][0])
    assert mask.sum(dim=1).tolist() == [5, 5, 2, 3]


def test_positions_are_the_sines_and_cosines_of_the_paper():
    steps, width = 7, 5
    actual = add_positions(torch.zeros(2, steps, width))
    for step in range(steps):
        angles = [step * 10_000 ** (-number / 3) for number in range(3)]
        expected = [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
        assert actual[1, step].tolist() == pytest.approx(expected[:width], abs=1e-6)
    rows = torch.randn(2, steps, width)
    assert torch.equal(add_positions(rows), rows + actual)


@pytest.mark.parametrize(
    ("values", "steps", "expected"),
    [
        ([0.0, 1.0, 2.0], 5, [0.0, 0.5, 1.0, 1.5, 2.0]),
        ([0.0, 4.0, 2.0, 6.0], 2, [0.0, 6.0]),
        ([3.0, 1.0], 2, [3.0, 1.0]),
        ([7.0], 3, [7.0, 7.0, 7.0]),
        ([5.0, 9.0], 1, [5.0]),
        ([], 3, [0.0, 0.0, 0.0]),
    ],
)
def test_a_sequence_is_resampled_between_its_real_steps(values, steps, expected):
    rows = torch.full((1, 6, 1), 100.0)  # the padding
    rows[0, : len(values), 0] = torch.tensor(values)
    mask = torch.arange(6)[None] < len(values)
    assert resample(rows, mask, steps)[0, :, 0].tolist() == pytest.approx(expected)


def test_half_precision_does_not_lose_the_position_of_a_step():
    mask = torch.ones(1, 400, dtype=torch.bool)
    rows = torch.randn(1, 400, WIDTH)
    expected = resample(rows, mask, 9)
    assert torch.allclose(resample(rows.bfloat16(), mask, 9).float(), expected, atol=0.05)
    positions = add_positions(torch.zeros(1, 400, WIDTH, dtype=torch.bfloat16))[0].float()
    assert torch.allclose(positions, add_positions(torch.zeros(1, 400, WIDTH))[0], atol=0.01)
