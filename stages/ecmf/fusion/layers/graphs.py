"""Graph attention over fully connected graphs whose nodes are steps (arXiv 1710.10903)."""

from torch import Tensor, nn
from torch.nn import functional

from ecmf.fusion.layers.pooling import masked_softmax

SLOPE = 0.2
"""Slope of the LeakyReLU for negative scores, as in the paper."""


class GraphAttention(nn.Module):
    """Attend from every node to every node: `α_ij = softmax_j(LeakyReLU(a^T[x_i ‖ x_j]))`.

    Nodes x = W h, (clips, nodes, width), with mask (clips, nodes) become `ELU(Σ_j α_ij x_j)`, and
    zeros where masked. The caller applies W, which may differ by type of node.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.receive = nn.Linear(width, 1, bias=False)
        self.send = nn.Linear(width, 1, bias=False)

    def weights(self, nodes: Tensor, mask: Tensor) -> Tensor:
        """Return the attention `α`, (clips, nodes, nodes); each row sums to one."""
        scores = self.receive(nodes) + self.send(nodes).transpose(1, 2)
        return masked_softmax(functional.leaky_relu(scores, SLOPE), mask[:, None, :])

    def forward(self, nodes: Tensor, mask: Tensor) -> Tensor:
        """Update each node by its attention over all nodes."""
        gathered = self.weights(nodes, mask) @ nodes
        return functional.elu(gathered) * mask.unsqueeze(-1)
