"""Graph attention over fully connected graphs whose nodes are steps (arXiv 1710.10903)."""

from torch import Tensor, nn
from torch.nn import functional

from ecmf.fusion.layers.pooling import masked_softmax

SLOPE = 0.2
"""Slope of the LeakyReLU for negative scores, as in the paper."""


class GraphAttention(nn.Module):
    """Attend from every node to every node: `α_ij = softmax_j(LeakyReLU(a^T[x_i ‖ x_j]))`.

    Nodes x = W h, (clips, nodes, width), with mask (clips, nodes) become `ELU(Σ_j α_ij x_j)`, and
    zeros where masked. The caller applies W, which may differ by kind of node. With several `kinds`
    of nodes every kind of edge, from one kind of node to one, has a weight vector a of its own.
    """

    def __init__(self, width: int, kinds: int = 1) -> None:
        super().__init__()
        self.kinds = kinds
        self.receive = nn.Linear(width, kinds**2, bias=False)
        self.send = nn.Linear(width, kinds**2, bias=False)

    def weights(self, nodes: Tensor, mask: Tensor, kind: Tensor | None = None) -> Tensor:
        """Return the attention `α`, (clips, nodes, nodes); each row sums to one.

        `kind` is the number of the kind of each node, (nodes,); it may be left out if all are one.
        """
        receive, send = self.receive(nodes), self.send(nodes)
        if kind is not None:
            edge = kind[:, None] * self.kinds + kind
            receive = receive.gather(2, edge.expand(len(nodes), -1, -1))
            send = send.gather(2, edge.T.expand(len(nodes), -1, -1))
        scores = receive + send.transpose(1, 2)
        return masked_softmax(functional.leaky_relu(scores, SLOPE), mask[:, None, :])

    def forward(self, nodes: Tensor, mask: Tensor, kind: Tensor | None = None) -> Tensor:
        """Update each node by its attention over all nodes."""
        gathered = self.weights(nodes, mask, kind) @ nodes
        return functional.elu(gathered) * mask.unsqueeze(-1)
