"""DualKanbaFormer (arXiv 2408.15379): sparse attention, a state space, learned curves per source.

Taken from the paper: one such former per modality, side by side; sparse attention that balances
blocks read coarsely against chosen blocks read finely; Mamba's selective state space for what is
far apart; Kolmogorov-Arnold networks in the place of the feed-forward; Dynamic Tanh in the place of
layer normalisation; a gate between the modalities, `g ⊙ t + (1 - g) ⊙ v`.

Our reading: within a block the three follow one another, each with a residual around it; the state
space forgets at one rate per head, which is what lets it run without a loop; a block's learned
curves are one layer, of bell curves for splines; a source is the mean of its steps; for any number
of sources the gate is a softmax over those present, feature by feature, which of two is the paper's
sigmoid. Where there is one source there is no gate. Widths, heads, blocks, dropout are ours.

Left out: the aspect that drives the paper's attention, for a clip asks about none: every step asks
for itself; and the pretrained encoders of words and pictures, which stand before the fusion here.
"""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.kolmogorov_arnold import DynamicTanh, KolmogorovArnold
from ecmf.fusion.layers.options import AttentionOptions
from ecmf.fusion.layers.pooling import masked_mean, masked_softmax
from ecmf.fusion.layers.sequences import StepProjection
from ecmf.fusion.layers.sparse_attention import SparseAttention
from ecmf.fusion.layers.state_space import SelectiveStateSpace


class Options(AttentionOptions):
    """Widths, and how sparse the attention is.

    It reads `block` steps as one, and the `best` blocks step by step. `state` is how many numbers
    a feature remembers; `bells` make up a learned curve.
    """

    layers: int = Field(1, ge=1)
    block: int = Field(4, ge=1)
    best: int = Field(2, ge=1)
    state: int = Field(8, ge=1)
    bells: int = Field(8, ge=2)


class Fusion(base.Fusion):
    """A former per source, and a gate over the sources for every feature."""

    def __init__(self, sources: Sequence[base.SourceShape], classes: int, options: Options) -> None:
        """Build for these sources."""
        super().__init__(sources, classes)
        width, count = options.width, len(self.sources)
        self.projection = StepProjection(self.sources, width, options.dropout)
        self.formers = nn.ModuleList(Former(options) for _ in self.sources)
        if count > 1:
            self.gate = nn.Linear(width * count, width * count)
        self.dropout = Dropout(options.dropout)
        self.classifier = nn.Linear(width, classes)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        vectors = [
            masked_mean(former(rows, mask), mask)
            for (rows, mask), former in zip(self.projection(batch), self.formers, strict=True)
        ]
        vector = torch.stack(vectors, dim=1)
        gate = self._gate(vector, batch.present())
        fused = (gate * vector).sum(dim=1)
        return base.Output(self.classifier(self.dropout(fused)), gate.mean(dim=-1))

    def _gate(self, vector: Tensor, present: Tensor) -> Tensor:
        """(clips, sources, width) -> the same, summing to one over the present sources."""
        if len(self.sources) == 1:
            return present.unsqueeze(-1).expand_as(vector).to(vector.dtype)
        scores = self.gate(vector.flatten(1)).view_as(vector).transpose(1, 2)
        return masked_softmax(scores, present.unsqueeze(1)).transpose(1, 2)


class Layer(nn.Module):
    """One block of a former: attention, state space, curves, each squashed before and added."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        width = options.width
        self.attention_norm = DynamicTanh(width)
        self.attention = SparseAttention(width, options.heads, options.block, options.best)
        self.state_norm = DynamicTanh(width)
        self.state_space = SelectiveStateSpace(width, options.heads, options.state)
        self.curve_norm = DynamicTanh(width)
        self.curves = KolmogorovArnold(width, width, options.bells)
        self.dropout = Dropout(options.dropout)

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Mix the steps, (clips, steps, width) with mask (clips, steps)."""
        rows = rows + self.dropout(self.attention(self.attention_norm(rows), mask))
        rows = rows + self.dropout(self.state_space(self.state_norm(rows), mask))
        rows = rows + self.dropout(self.curves(self.curve_norm(rows)))
        return rows * mask.unsqueeze(-1)


class Former(nn.Module):
    """The blocks of one source, squashed at the end."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(options) for _ in range(options.layers))
        self.norm = DynamicTanh(options.width)

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Go through the blocks, (clips, steps, width) with mask (clips, steps)."""
        for layer in self.layers:
            rows = layer(rows, mask)
        squashed: Tensor = self.norm(rows)
        return squashed
