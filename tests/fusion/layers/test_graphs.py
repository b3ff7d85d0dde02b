"""Graph attention: every node attends to every real node of its graph."""

import torch
from torch.nn import functional

from ecmf.fusion.layers.graphs import SLOPE, GraphAttention


def make_graph():
    generator = torch.Generator().manual_seed(0)
    nodes = torch.randn(2, 5, 6, generator=generator)
    mask = torch.arange(5) < torch.tensor([5, 3])[:, None]
    torch.manual_seed(0)
    return GraphAttention(6), nodes, mask


def test_a_node_is_updated_as_in_the_equation():
    graph, nodes, mask = make_graph()
    gathered = graph(nodes, mask)
    vector = torch.cat([graph.receive.weight, graph.send.weight], dim=1).squeeze(0)
    for clip, count in enumerate([5, 3]):
        for node in range(count):
            pairs = [torch.cat([nodes[clip, node], nodes[clip, other]]) for other in range(count)]
            scores = functional.leaky_relu(torch.stack(pairs) @ vector, SLOPE)
            updated = (scores.softmax(0)[:, None] * nodes[clip, :count]).sum(0)
            assert torch.allclose(gathered[clip, node], functional.elu(updated), atol=1e-6)


def test_a_masked_node_neither_attends_nor_is_attended_to():
    graph, nodes, mask = make_graph()
    assert (graph(nodes, mask)[1, 3:] == 0).all()
    assert (graph.weights(nodes, mask)[1, :, 3:] == 0).all()
    all_masked = torch.zeros_like(mask)
    assert (graph(nodes, all_masked) == 0).all()


def test_the_order_of_the_nodes_does_not_matter():
    graph, nodes, mask = make_graph()
    order = torch.tensor([2, 0, 1, 3, 4])
    assert torch.allclose(graph(nodes, mask)[:, order], graph(nodes[:, order], mask), atol=1e-6)
