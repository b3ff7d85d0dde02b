"""What stands in for linear layers and for normalisation: a curve on every edge, dynamic tanh.

Everything works on the last dimension and looks at no other row, so padding needs no care here.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class KolmogorovArnold(nn.Module):
    """Sum over inputs of a learned function of each (arXiv 2404.19756): (…, dim) -> (…, width).

    Each function is `w SiLU(x)` plus bell curves at `bells` places evenly over [-1, 1], which stand
    in for the cubic splines they nearly are, at half the cost (arXiv 2405.06721); outside they fade
    to nothing and the first term is what is left. The places do not adapt.
    """

    places: Tensor

    def __init__(self, dim: int, width: int, bells: int) -> None:
        super().__init__()
        self.distance = 2 / (bells - 1)
        self.register_buffer("places", torch.linspace(-1, 1, bells), persistent=False)
        self.base = nn.Linear(dim, width)
        self.curves = nn.Linear(dim * bells, width, bias=False)

    def forward(self, rows: Tensor) -> Tensor:
        """Sum the functions of the inputs."""
        away = (rows.unsqueeze(-1) - self.places) / self.distance
        bells = (-away.square()).exp().flatten(-2)
        summed: Tensor = self.base(functional.silu(rows)) + self.curves(bells)
        return summed


class DynamicTanh(nn.Module):
    """`γ tanh(αx) + β` in the place of layer normalisation (arXiv 2503.10622): (…, width)."""

    def __init__(self, width: int, alpha: float = 0.5) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(alpha))
        self.gamma = nn.Parameter(torch.ones(width))
        self.beta = nn.Parameter(torch.zeros(width))

    def forward(self, rows: Tensor) -> Tensor:
        """Squash the rows."""
        return self.gamma * torch.tanh(self.alpha * rows) + self.beta
