"""Graphs whose nodes are steps: each gathers from all nodes of its graph (arXiv 1710.10903)."""

from torch import Tensor, nn
from torch.nn import functional

from ecmf.fusion.layers.pooling import masked_softmax

SLOPE = 0.2
"""Of the LeakyReLU for negative scores, as in the paper of graph attention."""


class GraphAttention(nn.Module):
    """Every node hears every node, itself too: `α_ij = softmax_j(LeakyReLU(a^T[x_i ‖ x_j]))`.

    Nodes x = W h, (clips, nodes, width), and which are real, (clips, nodes) -> `ELU(Σ_j α_ij x_j)`,
    zeros for a node that is not real. W is left to the caller: it may differ by kind of node.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.receive = nn.Linear(width, 1, bias=False)
        self.send = nn.Linear(width, 1, bias=False)

    def weights(self, nodes: Tensor, mask: Tensor) -> Tensor:
        """Return how much each node hears of each, (clips, nodes, nodes); rows sum to one."""
        scores = self.receive(nodes) + self.send(nodes).transpose(1, 2)
        return masked_softmax(functional.leaky_relu(scores, SLOPE), mask[:, None, :])

    def forward(self, nodes: Tensor, mask: Tensor) -> Tensor:
        """Gather once."""
        gathered = self.weights(nodes, mask) @ nodes
        return functional.elu(gathered) * mask.unsqueeze(-1)
