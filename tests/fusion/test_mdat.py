"""MDAT: co-attention both ways, and what a source takes from the others."""

import torch
from made_clips import made_batch, made_fusion, seen_by

from ecmf.fusion.mdat import CoAttention

STEPS = {"frame/a": [5, 3, 4], "audio/b": [4, 2, 3], "text/c": [0, 2, 0]}


def test_one_matrix_is_read_in_both_directions():
    torch.manual_seed(0)
    first, second = torch.randn(1, 3, 4), torch.randn(1, 2, 4)
    attention = CoAttention(4)
    real = [torch.ones(1, steps, dtype=torch.bool) for steps in (3, 2)]
    to_first, to_second = attention((first, real[0]), (second, real[1]))
    # (h_a W) h_t^T, over the root of the width
    scores = first[0] @ attention.bilinear.weight.T @ second[0].T / 2
    assert torch.allclose(to_first[0], scores.softmax(dim=1) @ second[0], atol=1e-6)
    assert torch.allclose(to_second[0], scores.T.softmax(dim=1) @ first[0], atol=1e-6)


def test_a_source_takes_the_mean_of_the_others_that_are_there():
    batch = made_batch(STEPS)
    model = made_fusion("mdat", batch)
    streams = [
        (graph(rows, mask), mask)
        for graph, (rows, mask) in zip(model.graphs, model.projection(batch), strict=True)
    ]
    of_audio = model.co_attention[model.pairs.index((0, 1))](streams[0], streams[1])[0]
    of_text = model.co_attention[model.pairs.index((0, 2))](streams[0], streams[2])[0]
    joined = seen_by(model.norm[0], model, batch)
    frame = streams[0][0]
    for clip, others in enumerate([of_audio[0], (of_audio[1] + of_text[1]) / 2, of_audio[2]]):
        assert torch.allclose(joined[clip], frame[clip] + others, atol=1e-6)


def test_the_steps_of_a_source_hear_each_other_before_they_hear_others():
    batch = made_batch({"frame/a": [4, 3]})
    model = made_fusion("mdat", batch)
    ((rows, mask),) = model.projection(batch)
    rows = rows.detach().requires_grad_()
    model.graphs[0](rows, mask)[0, 0].square().sum().backward()
    reached = rows.grad.abs().sum(dim=-1) > 0
    assert reached.tolist() == [[True] * 4, [False] * 4]
    assert not model.pairs, "a model of one source has nobody to attend to"
