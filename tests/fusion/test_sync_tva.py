"""Sync-TVA: gated enhancement, a graph for every two sources, attention to all graphs."""

import itertools

import pytest
import torch
from made_clips import captured_input, make_batch, make_fusion, make_target

from ecmf.fusion.sync_tva import Enhancement, HeterogeneousGraph

NAMES = ("frame/a", "audio/b", "text/c")


@pytest.mark.parametrize(("count", "groups"), [(1, [(0,)]), (3, [(0, 1), (0, 2), (1, 2)])])
def test_every_two_sources_share_a_graph_and_a_single_source_has_one(count, groups):
    model = make_fusion("sync_tva", make_batch({name: [3, 2] for name in NAMES[:count]}))
    assert model.groups == groups and len(model.graphs) == len(groups)


def test_a_closed_gate_adds_nothing_and_an_open_gate_everything():
    torch.manual_seed(0)
    enhancement = Enhancement(4, dropout=0.0)
    rows, mask = torch.randn(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)
    for bias, added in ((-1e4, torch.zeros_like(rows)), (1e4, enhancement.perceptron(rows))):
        torch.nn.init.constant_(enhancement.gate.bias, bias)
        assert torch.allclose(enhancement(rows, mask), rows + added)


def test_the_projection_of_a_step_differs_by_source():
    torch.manual_seed(0)
    graph = HeterogeneousGraph(2, 4)
    step = torch.randn(1, 1, 4)
    real = torch.ones(1, 1, dtype=torch.bool)
    nodes = captured_input(graph.attention, graph, [(step, real)] * 2)
    assert torch.allclose(nodes[:, :1], graph.linear[0](step))
    assert not torch.allclose(nodes[:, :1], nodes[:, 1:])


def test_each_kind_of_edge_has_a_weight_vector():
    """The attention is the formula, written out node by node, of a graph of 3 and 2 steps."""
    torch.manual_seed(0)
    graph = HeterogeneousGraph(2, 4)
    streams = [(torch.randn(1, n, 4), torch.ones(1, n, dtype=torch.bool)) for n in (3, 2)]
    nodes = captured_input(graph.attention, graph, streams)[0]
    kind = [0, 0, 0, 1, 1]
    scores = torch.empty(5, 5)
    for i, j in itertools.product(range(5), repeat=2):
        r = 2 * kind[i] + kind[j]
        a = torch.cat([graph.attention.receive.weight[r], graph.attention.send.weight[r]])
        scores[i, j] = a @ torch.cat([nodes[i], nodes[j]])
    alpha = torch.nn.functional.leaky_relu(scores, 0.2).softmax(dim=1)
    rows = torch.cat([rows for rows, _ in streams], dim=1)
    expected = graph.norm(rows + torch.nn.functional.elu(alpha @ nodes))
    assert torch.allclose(graph(streams)[0], expected, atol=1e-6)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 2.0])
def test_cross_entropy_and_further_loss_sum_to_the_focal_loss(exponent):
    batch = make_batch({name: [3, 2, 1, 2] for name in NAMES})
    model = make_fusion("sync_tva", batch, focal=exponent)
    output = model(batch, make_target(4))
    cross_entropy = -output.logits.log_softmax(dim=1).diagonal()
    probability = output.logits.softmax(dim=1).diagonal()
    further = sum(output.losses.values(), torch.zeros(4))
    assert torch.allclose(cross_entropy + further, (1 - probability) ** exponent * cross_entropy)
    assert bool(output.losses) == bool(exponent)


def test_the_two_sources_of_a_graph_attend_to_each_other():
    torch.manual_seed(0)
    graph = HeterogeneousGraph(2, 4)
    first, second = torch.randn(1, 3, 4), torch.randn(1, 2, 4, requires_grad=True)
    real = [torch.ones(1, steps, dtype=torch.bool) for steps in (3, 2)]
    nodes, _ = graph([(first, real[0]), (second, real[1])])
    nodes[:, :3].square().sum().backward()
    assert (second.grad.abs().sum(dim=-1) > 0).all()


def test_a_source_attends_to_the_graph_of_two_others_too():
    batch = make_batch({name: [3, 2] for name in NAMES})
    model = make_fusion("sync_tva", batch)
    nodes = []
    model.graphs[model.groups.index((1, 2))].register_forward_hook(
        lambda _module, _inputs, output: nodes.append(output[0].retain_grad() or output[0])
    )
    inputs = captured_input(model.classifier, model, batch).unflatten(1, (3, -1))
    inputs[:, 0].square().sum().backward()
    reached = nodes[0].grad.abs().sum(dim=-1) > 0
    assert reached.tolist() == [[True] * 6, [True, True, False] * 2]
