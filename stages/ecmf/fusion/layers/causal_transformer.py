"""The transformer encoder of MulT's published code (arXiv 1906.00295), which CFN-SR's uses, too."""

import math

from torch import Tensor, nn
from torch.nn import functional

from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.sequences import Attention, add_positions

TIMES = 4
"""Width of the hidden layer of a block, as a multiple of the width of the sequence."""


class CausalLayer(nn.Module):
    """Pre-norm attention of each step to itself and those before, and a wide block with ReLU."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.feed_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout)
        self.wide, self.narrow = nn.Linear(width, TIMES * width), nn.Linear(TIMES * width, width)
        self.dropout = Dropout(dropout)

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Return (clips, steps, width), zeros where `mask` is false."""
        normed = self.norm(rows)
        rows = rows + self.dropout(self.attention(normed, normed, mask, causal=True))
        hidden = self.dropout(functional.relu(self.wide(self.feed_norm(rows))))
        mixed: Tensor = rows + self.dropout(self.narrow(hidden))
        return mixed * mask.unsqueeze(-1)


class CausalTransformer(nn.Module):
    """Scale the rows by the root of their width, add positions, apply layers, and normalise."""

    def __init__(self, width: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.scale = math.sqrt(width)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(CausalLayer(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Return (clips, steps, width), zeros where `mask` is false."""
        rows = self.dropout(add_positions(self.scale * rows)) * mask.unsqueeze(-1)
        for layer in self.layers:
            rows = layer(rows, mask)
        normalised: Tensor = self.norm(rows) * mask.unsqueeze(-1)
        return normalised
