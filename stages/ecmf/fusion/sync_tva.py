"""Sync-TVA (arXiv 2507.21395): a graph for every two sources, cross-attention to all graphs.

From the paper:
- Every modality is enhanced, `h' = h + sigmoid(W_g h) · MLP(h)`.
- Every two modalities have a heterogeneous graph with graph attention, `α_ij =
  softmax_j(LeakyReLU(a_r^T[W h_i ‖ W h_j]))`, with a weight vector `a_r` for each kind r of edge.
- Cross-attention fuses the modalities.
- The training counters the imbalance of the classes.

Our reading:
- The nodes of a graph are the steps of its two sources, and the graph is fully connected. W differs
  by source and graph; the kind of an edge is the pair of sources it leads from and to, so a graph
  has four. A model of one source has one graph, of its own steps.
- In the cross-attention the mean of the enhanced steps of each source attends to the nodes of all
  graphs at once, so that a source can use relations between two others; the classifier reads the
  result of each source.
- Against imbalance the loss is focal (arXiv 1708.02002), `(1 - p)^γ L_ce` with p the probability of
  the true class: the well predicted clips of frequent classes count less. The training adds `L_ce`
  itself, so "focal" is the remaining `((1 - p)^γ - 1) L_ce`. The abstract names no loss; weights of
  classes are `train_fusion.class_weights`, for every model.
- Widths, dropout and γ are ours.

Left out:
- The paper's encoders.
- The dialogue around a clip.
"""

from collections.abc import Sequence
from itertools import combinations

import torch
from pydantic import Field
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
    add_positions,
    concatenate,
)


class Options(AttentionOptions):
    """Sizes, dropout and exponent of the focal loss; all are ours."""

    focal: float = Field(2.0, ge=0, description="Exponent γ of the focal loss; 0: cross entropy.")


class Enhancement(nn.Module):
    """Gated residual on each step: `h' = h + sigmoid(W_g h) · MLP(h)`."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.gate = nn.Linear(width, width)
        self.perceptron = FeedForward(width, dropout)

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Transform (clips, steps, width)."""
        enhanced: Tensor = rows + torch.sigmoid(self.gate(rows)) * self.perceptron(rows)
        return enhanced * mask.unsqueeze(-1)


class HeterogeneousGraph(nn.Module):
    """Graph attention over the steps of several sources: `LN(h + GAT)`.

    Each source has a W, and each ordered pair of them a weight vector of the attention.
    """

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.linear = nn.ModuleList(nn.Linear(width, width) for _ in range(count))
        self.attention = GraphAttention(width, count)
        self.norm = nn.LayerNorm(width)

    def forward(self, streams: Streams) -> tuple[Tensor, Tensor]:
        """Return the nodes, (clips, nodes, width), and their mask, source after source."""
        rows, mask = concatenate(streams)
        nodes = torch.cat(
            [linear(rows) for linear, (rows, _) in zip(self.linear, streams, strict=True)], dim=1
        )
        steps = [rows.shape[1] for rows, _ in streams]
        kind = torch.cat(
            [torch.full((count,), number, device=mask.device) for number, count in enumerate(steps)]
        )
        return self.norm(rows + self.attention(nodes, mask, kind)) * mask.unsqueeze(-1), mask


class Fusion(base.Fusion):
    """Fuse every two sources in a graph, and attend from each source to all graphs."""

    order_aware = True

    def __init__(self, sources: Sequence[base.SourceShape], outputs: int, options: Options) -> None:
        super().__init__(sources, outputs)
        width, dropout, count = options.width, options.dropout, len(self.sources)
        self.focal = options.focal
        self.projection = StepProjection(self.sources, width, dropout)
        self.enhancement = nn.ModuleList(Enhancement(width, dropout) for _ in self.sources)
        self.groups = list(combinations(range(count), min(2, count)))
        self.graphs = nn.ModuleList(HeterogeneousGraph(len(group), width) for group in self.groups)
        self.cross_attention = TransformerLayer(width, options.heads, dropout)
        self.dropout = Dropout(dropout)
        self.classifier = nn.Linear(width * count, outputs)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        streams = [
            (enhancement(add_positions(rows), mask), mask)
            for enhancement, (rows, mask) in zip(
                self.enhancement, self.projection(batch), strict=True
            )
        ]
        graphs = [
            graph([streams[index] for index in group])
            for graph, group in zip(self.graphs, self.groups, strict=True)
        ]
        queries = torch.stack([masked_mean(rows, mask) for rows, mask in streams], dim=1)
        attended = self.cross_attention(queries, batch.presence(), concatenate(graphs))
        logits = self.classifier(self.dropout(attended.flatten(1)))
        return base.Output(logits, losses=self._losses(logits, target))

    def _losses(self, logits: Tensor, target: base.Target | None) -> dict[str, Tensor]:
        """Return what completes the cross entropy of each clip to the focal loss."""
        if target is None or not self.focal:
            return {}
        probability = (target.values["class_probs"] * logits.softmax(dim=-1)).sum(dim=-1)
        return {"focal": ((1 - probability) ** self.focal - 1) * target.loss(logits)}
