"""Kolmogorov-Arnold layers and dynamic tanh, in place of linear layers and layer normalisation.

Both work on the last dimension and on each row by itself, so that padding needs no mask.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class KolmogorovArnold(nn.Module):
    """Sum a learned function of each input (arXiv 2404.19756): (…, dim) -> (…, width).

    Each function is `w SiLU(x)` plus `bases` basis functions at evenly spaced places. With `spline`
    these are the cubic B-splines of the paper, over the `bases - 3` intervals of [-1, 1]; else
    Gaussians, which approximate them at half the cost (arXiv 2405.06721). Outside of [-1, 1] both
    fade, and the first term remains.
    """

    places: Tensor

    def __init__(self, dim: int, width: int, bases: int, spline: bool = False) -> None:
        super().__init__()
        self.spline = spline
        outside = 1 if spline else 0  # splines that peak one interval outside, on either side
        self.distance = 2 / (bases - 1 - 2 * outside)
        reach = 1 + outside * self.distance
        self.register_buffer("places", torch.linspace(-reach, reach, bases), persistent=False)
        self.base = nn.Linear(dim, width)
        self.curves = nn.Linear(dim * bases, width, bias=False)

    def forward(self, rows: Tensor) -> Tensor:
        """Sum the functions of the inputs."""
        offset = (rows.unsqueeze(-1) - self.places) / self.distance
        basis = _cubic_spline(offset) if self.spline else (-offset.square()).exp()
        summed: Tensor = self.base(functional.silu(rows)) + self.curves(basis.flatten(-2))
        return summed


def _cubic_spline(offset: Tensor) -> Tensor:
    """Return the cubic B-spline at a distance from its peak, in intervals of the grid."""
    away = offset.abs()
    inner = 2 / 3 - away.square() + away**3 / 2
    outer = (2 - away).clamp(min=0) ** 3 / 6
    return torch.where(away < 1, inner, outer)


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
