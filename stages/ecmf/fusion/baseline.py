"""The official baseline of MER2025 (MERTools, Track 1): attention over sources without softmax.

From the paper:
- Each source is its clip's mean, through three Linear + ReLU layers with dropout to `h_m`.
- `a = Linear_M(MLP(concat h))` is not normalised; a linear classifier reads `Σ_m a_m h_m`.
- Width and dropout are values of the published search.

Our reading:
- Absent sources, which the published code does not support, have `h_m = 0` and no weight.

Left out:
- The search itself: `width` and `dropout` are options. The preset `official` has the published
  training, and the command that searches the published ranges.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ecmf.config import Section
from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.options import DropoutRate, Width
from ecmf.fusion.layers.pooling import MeanPooling


class Options(Section):
    """Width and dropout; the published search draws from {64, 128, 256} and {.2, .3, .4, .5}."""

    width: Width = 128
    dropout: DropoutRate = 0.3


class Fusion(base.Fusion):
    """Weight the sources by the output of a network over all of them."""

    def __init__(self, sources: Sequence[base.SourceShape], outputs: int, options: Options) -> None:
        super().__init__(sources, outputs)
        width = options.width
        self.pooling = MeanPooling()
        self.encoders = nn.ModuleList(
            _three_layers(source.dim, width, options.dropout) for source in self.sources
        )
        self.attention = _three_layers(width * len(self.sources), width, options.dropout)
        self.weights = nn.Linear(width, len(self.sources))
        self.classifier = nn.Linear(width, outputs)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        present = batch.presence().unsqueeze(-1)
        vectors = [
            encoder(self.pooling(rows, mask))
            for encoder, rows, mask in zip(
                self.encoders, batch.rows.values(), batch.masks.values(), strict=True
            )
        ]
        hidden: Tensor = torch.stack(vectors, dim=1) * present
        weights = self.weights(self.attention(hidden.flatten(1))) * present.squeeze(-1)
        fused = torch.einsum("bm,bmd->bd", weights, hidden)
        return base.Output(self.classifier(fused), weights)


def _three_layers(dim: int, width: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = [Dropout(dropout)]
    for inputs in (dim, width, width):
        layers += [nn.Linear(inputs, width), nn.ReLU()]
    return nn.Sequential(*layers)
