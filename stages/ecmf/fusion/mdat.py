"""MDAT (arXiv 2306.13804): graph attention within each source, co-attention between every two.

"Cross-Language Speech Emotion Recognition Using Multimodal Dual Attention Transformers".

From the paper:
- Graph attention inside each modality, whose steps are the nodes of a fully connected graph.
- Co-attention between two modalities, `A = softmax(h_a W h_t^T)`.
- A transformer encoder and a classifier.

Our reading:
- Every two sources have one `W`, used in both directions, its scores divided by the root of the
  width; the co-attentions of a source with the other present ones are averaged and added to it.
- The transformer reads the steps of all sources as one sequence, each with its position and a
  learned vector of its source, and the classifier reads each source's mean.
- Graph attention has one head and a residual. A model of one source has no co-attention.
- Widths, layers and dropout are ours.

Left out:
- The adaptation to another language by a few examples.
- The paper's encoders.
"""

import math
from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.graphs import GraphAttention
from ecmf.fusion.layers.options import AttentionOptions, Layers
from ecmf.fusion.layers.pooling import masked_mean, masked_softmax
from ecmf.fusion.layers.sequences import StepProjection, Streams, Transformer, add_positions


class Options(AttentionOptions):
    """Sizes and dropout; all are ours."""

    layers: Layers = 1


class GraphEncoder(nn.Module):
    """Graph attention among the steps of one source: `LN(h + GAT(W h))`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.attention = GraphAttention(width)
        self.norm = nn.LayerNorm(width)

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Transform (clips, steps, width)."""
        mixed: Tensor = self.norm(rows + self.attention(self.linear(rows), mask))
        return mixed * mask.unsqueeze(-1)


class CoAttention(nn.Module):
    """Co-attention of two sources in both directions: `A = softmax(h_a W h_t^T)`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bilinear = nn.Linear(width, width, bias=False)
        self.scale = math.sqrt(width)

    def forward(
        self, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return the attended steps for each source; zeros where the other is absent."""
        scores = self.bilinear(first[0]) @ second[0].transpose(1, 2) / self.scale
        to_first = masked_softmax(scores, second[1][:, None]) @ second[0]
        to_second = masked_softmax(scores.transpose(1, 2), first[1][:, None]) @ first[0]
        return to_first, to_second


class Fusion(base.Fusion):
    """Attend within each source, then between the sources, then over all steps."""

    order_aware = True

    def __init__(self, sources: Sequence[base.SourceShape], outputs: int, options: Options) -> None:
        super().__init__(sources, outputs)
        width, dropout = options.width, options.dropout
        self.projection = StepProjection(self.sources, width, dropout)
        self.graphs = nn.ModuleList(GraphEncoder(width) for _ in self.sources)
        self.pairs = list(combinations(range(len(self.sources)), 2))
        self.co_attention = nn.ModuleList(CoAttention(width) for _ in self.pairs)
        self.norm = nn.ModuleList(nn.LayerNorm(width) for _ in self.sources)
        self.source = nn.Parameter(torch.randn(len(self.sources), width) / math.sqrt(width))
        self.transformer = Transformer(width, options.heads, options.layers, dropout)
        self.dropout = Dropout(dropout)
        self.classifier = nn.Linear(width * len(self.sources), outputs)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        streams = [
            (graph(rows, mask), mask)
            for graph, (rows, mask) in zip(self.graphs, self.projection(batch), strict=True)
        ]
        joined = self._join(streams, batch.presence())
        masks = [mask for _, mask in streams]
        whole = torch.cat(masks, dim=1)
        mixed = self.transformer(torch.cat(joined, dim=1) * whole.unsqueeze(-1), whole)
        parts = mixed.split([mask.shape[1] for mask in masks], dim=1)
        means = [masked_mean(rows, mask) for rows, mask in zip(parts, masks, strict=True)]
        return base.Output(self.classifier(self.dropout(torch.cat(means, dim=1))))

    def _join(self, streams: Streams, present: Tensor) -> list[Tensor]:
        """Add to the steps of each source the mean of its co-attentions, position and source."""
        attended = [torch.zeros_like(rows) for rows, _ in streams]
        for (first, second), attention in zip(self.pairs, self.co_attention, strict=True):
            to_first, to_second = attention(streams[first], streams[second])
            attended[first] = attended[first] + to_first
            attended[second] = attended[second] + to_second
        others = (present.sum(dim=1, keepdim=True) - 1).clamp(min=1).unsqueeze(-1)
        return [
            add_positions(norm(rows + added / others)) + source
            for norm, (rows, _), added, source in zip(
                self.norm, streams, attended, self.source, strict=True
            )
        ]
