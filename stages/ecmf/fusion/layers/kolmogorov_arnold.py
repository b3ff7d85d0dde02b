"""Kolmogorov-Arnold layers and dynamic tanh, in place of linear layers and layer normalisation.

Both work on the last dimension and on each row by itself, so that padding needs no mask.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class KolmogorovArnold(nn.Module):
    """Sum a learned function of each input (arXiv 2404.19756): (…, dim) -> (…, width).

    Each function is `w SiLU(x)` plus Gaussian basis functions, whose `bases` centres are fixed and
    evenly spaced over [-1, 1]. They approximate cubic splines at half the cost (arXiv 2405.06721).
    Outside of [-1, 1] they fade, and the first term remains.
    """

    places: Tensor

    def __init__(self, dim: int, width: int, bases: int) -> None:
        super().__init__()
        self.distance = 2 / (bases - 1)
        self.register_buffer("places", torch.linspace(-1, 1, bases), persistent=False)
        self.base = nn.Linear(dim, width)
        self.curves = nn.Linear(dim * bases, width, bias=False)

    def forward(self, rows: Tensor) -> Tensor:
        """Sum the functions of the inputs."""
        offset = (rows.unsqueeze(-1) - self.places) / self.distance
        gaussians = (-offset.square()).exp().flatten(-2)
        summed: Tensor = self.base(functional.silu(rows)) + self.curves(gaussians)
        return summed


class DynamicTanh(nn.Module):
    """Compute `γ tanh(αx) + β` in place of layer normalisation (arXiv 2503.10622): (…, width)."""

    def __init__(self, width: int, alpha: float = 0.5) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(alpha))
        self.gamma = nn.Parameter(torch.ones(width))
        self.beta = nn.Parameter(torch.zeros(width))

    def forward(self, rows: Tensor) -> Tensor:
        """Transform each row on its own."""
        return self.gamma * torch.tanh(self.alpha * rows) + self.beta
