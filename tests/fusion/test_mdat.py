"""MDAT: co-attention in both directions, and its mean over the other sources."""

import torch
from made_clips import captured_input, make_batch, make_fusion

from ecmf.fusion.mdat import CoAttention

STEPS = {"frame/a": [5, 3, 4], "audio/b": [4, 2, 3], "text/c": [0, 2, 0]}


def test_one_matrix_serves_both_directions():
    torch.manual_seed(0)
    first, second = torch.randn(1, 3, 4), torch.randn(1, 2, 4)
    attention = CoAttention(4)
    real = [torch.ones(1, steps, dtype=torch.bool) for steps in (3, 2)]
    to_first, to_second = attention((first, real[0]), (second, real[1]))
    # (h_a W) h_t^T, over the root of the width
    scores = first[0] @ attention.bilinear.weight.T @ second[0].T / 2
    assert torch.allclose(to_first[0], scores.softmax(dim=1) @ second[0], atol=1e-6)
    assert torch.allclose(to_second[0], scores.T.softmax(dim=1) @ first[0], atol=1e-6)


def test_a_source_adds_the_mean_of_the_other_present_sources():
    batch = make_batch(STEPS)
    model = make_fusion("mdat", batch)
    streams = [
        (graph(rows, mask), mask)
        for graph, (rows, mask) in zip(model.graphs, model.projection(batch), strict=True)
    ]
    from_audio = model.co_attention[model.pairs.index((0, 1))](streams[0], streams[1])[0]
    from_text = model.co_attention[model.pairs.index((0, 2))](streams[0], streams[2])[0]
    joined = captured_input(model.norm[0], model, batch)
    frame = streams[0][0]
    for clip, others in enumerate(
        [from_audio[0], (from_audio[1] + from_text[1]) / 2, from_audio[2]]
    ):
        assert torch.allclose(joined[clip], frame[clip] + others, atol=1e-6)


def test_graph_attention_stays_within_a_source_and_clip():
    batch = make_batch({"frame/a": [4, 3]})
    model = make_fusion("mdat", batch)
    ((rows, mask),) = model.projection(batch)
    rows = rows.detach().requires_grad_()
    model.graphs[0](rows, mask)[0, 0].square().sum().backward()
    reached = rows.grad.abs().sum(dim=-1) > 0
    assert reached.tolist() == [[True] * 4, [False] * 4]
    assert not model.pairs, "a model of one source has no co-attention"
