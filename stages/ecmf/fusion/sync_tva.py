"""Sync-TVA (arXiv 2507.21395): every two sources share a graph, and each source asks all graphs.

Taken from the paper: every modality is enhanced, `h' = h + sigmoid(W_g h) · MLP(h)`; each two
modalities have a heterogeneous graph with graph attention, `α = softmax(LeakyReLU(a^T[W h_i ‖ W
h_j]))`; cross-attention fuses them.

Our reading: the nodes of a graph are the steps of its two sources; all of them hear each other, and
W is one per source and graph, which is what makes the graph heterogeneous. Every two sources have a
graph, and a model of one source the graph of its own steps. In the cross-attention each source, as
the mean of its enhanced steps, asks the nodes of all graphs at once, so that it can take up what
two others found between them; the classifier reads what each source made of that. Widths and
dropout are ours.

Left out: the paper's encoders, and the dialogue around a clip.
"""

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.graphs import GraphAttention
from ecmf.fusion.layers.options import AttentionOptions
from ecmf.fusion.layers.pooling import masked_mean
from ecmf.fusion.layers.sequences import (
    FeedForward,
    StepProjection,
    Streams,
    TransformerLayer,
    joined,
    with_positions,
)


class Options(AttentionOptions):
    """Sizes and dropout, ours."""


class Enhancement(nn.Module):
    """Add to each step what a gate lets through: `h' = h + sigmoid(W_g h) · MLP(h)`."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.gate = nn.Linear(width, width)
        self.perceptron = FeedForward(width, dropout)

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """(clips, steps, width) -> the same."""
        enhanced: Tensor = rows + torch.sigmoid(self.gate(rows)) * self.perceptron(rows)
        return enhanced * mask.unsqueeze(-1)


class HeterogeneousGraph(nn.Module):
    """The steps of some sources as nodes of one graph, with a W for each source: `LN(h + GAT)`."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.linear = nn.ModuleList(nn.Linear(width, width) for _ in range(count))
        self.attention = GraphAttention(width)
        self.norm = nn.LayerNorm(width)

    def forward(self, streams: Streams) -> tuple[Tensor, Tensor]:
        """Return the nodes, (clips, nodes, width), and which are real, source after source."""
        rows, mask = joined(streams)
        nodes = torch.cat(
            [linear(rows) for linear, (rows, _) in zip(self.linear, streams, strict=True)], dim=1
        )
        return self.norm(rows + self.attention(nodes, mask)) * mask.unsqueeze(-1), mask


class Fusion(base.Fusion):
    """Let each two sources talk in a graph, and each source ask all graphs."""

    def __init__(self, sources: Sequence[base.SourceShape], classes: int, options: Options) -> None:
        """Build for these sources."""
        super().__init__(sources, classes)
        width, dropout, count = options.width, options.dropout, len(self.sources)
        self.projection = StepProjection(self.sources, width, dropout)
        self.enhancement = nn.ModuleList(Enhancement(width, dropout) for _ in self.sources)
        self.groups = list(combinations(range(count), min(2, count)))
        self.graphs = nn.ModuleList(HeterogeneousGraph(len(group), width) for group in self.groups)
        self.cross_attention = TransformerLayer(width, options.heads, dropout)
        self.dropout = Dropout(dropout)
        self.classifier = nn.Linear(width * count, classes)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        streams = [
            (enhancement(with_positions(rows), mask), mask)
            for enhancement, (rows, mask) in zip(
                self.enhancement, self.projection(batch), strict=True
            )
        ]
        graphs = [
            graph([streams[place] for place in group])
            for graph, group in zip(self.graphs, self.groups, strict=True)
        ]
        asking = torch.stack([masked_mean(rows, mask) for rows, mask in streams], dim=1)
        heard = self.cross_attention(asking, batch.present(), joined(graphs))
        return base.Output(self.classifier(self.dropout(heard.flatten(1))))
