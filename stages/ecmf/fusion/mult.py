"""MulT (arXiv 1906.00295, ACL 2019): crossmodal attention between unaligned sequences.

From the paper:
- A temporal convolution brings each source to one width. Its output is multiplied by the root of
  the width, and sinusoids encode the positions.
- For every ordered pair a crossmodal transformer lets the steps of the target attend to those of
  the other source, whose rows enter each layer unchanged. Layers are normalised before each part;
  their feed-forward is four times as wide, with a ReLU.
- The results of one target are concatenated, multiplied and given positions again, and go through a
  transformer of at least three layers over the target's own steps.
- The last step of each target is kept. A residual block of two linear layers and a linear
  classifier read them all.
- Layers, kernel and dropout rates are the defaults of the published code.

Our reading:
- Any number of sources; a single source goes to its own transformer directly.
- A pair whose other source is absent leaves the target its residual; a target that is absent gives
  zeros.
- Width 32 and 4 heads, where the published code has 30 and 5, so that widths which are powers of
  two can be searched.
- Positions are counted from zero, and one dropout rate serves attention, ReLU and residuals of all
  sources.

Left out:
- The mask of later steps in the published code, which the paper does not have.
- The Xavier initialisation of the published code: weights start as torch's own layers do.
"""

import math
from collections.abc import Sequence
from itertools import permutations

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.options import AttentionOptions, DropoutRate, Layers, Width
from ecmf.fusion.layers.pooling import last_step
from ecmf.fusion.layers.sequences import Streams, Transformer, TransformerLayer, add_positions

FEED_FORWARD = (4, nn.ReLU)
"""Width of the feed-forward, as a multiple of the layer's, and its activation."""

TEMPORAL_LAYERS = 3
"""Fewest layers of the transformer over a target's own steps, as in the published code."""


class Options(AttentionOptions):
    """Sizes and dropout, from the published code; there `width` is 30 and `heads` 5."""

    width: Width = 32
    layers: Layers = 5
    kernel: int = Field(1, ge=1, description="Steps that the temporal convolution spans; odd.")
    dropout: DropoutRate = 0.1
    input_dropout: DropoutRate = Field(0.2, description="Dropout rate of a transformer's input.")

    @model_validator(mode="after")
    def _check_kernel(self) -> "Options":
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel {self.kernel} has no middle step: choose an odd number")
        return self


class LastStep(nn.Module):
    """Transformer that returns the last real step of each sequence, (clips, width), or zeros.

    In the last layer the last step is the only query.
    """

    def __init__(self, width: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.before = nn.ModuleList(
            TransformerLayer(width, heads, dropout, *FEED_FORWARD) for _ in range(layers - 1)
        )
        self.layer = TransformerLayer(width, heads, dropout, *FEED_FORWARD)
        self.norm = nn.LayerNorm(width)

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Map (clips, steps, width) with mask (clips, steps) to (clips, width)."""
        for layer in self.before:
            rows = layer(rows, mask)
        last = last_step(rows, mask).unsqueeze(1)
        present = mask.any(dim=1, keepdim=True)
        result: Tensor = self.norm(self.layer(last, present, (rows, mask))).squeeze(1) * present
        return result


class Fusion(base.Fusion):
    """Attend from each source to each other, then within it, and classify its last step."""

    order_aware = True

    def __init__(self, sources: Sequence[base.SourceShape], outputs: int, options: Options) -> None:
        super().__init__(sources, outputs)
        width, heads, layers, dropout = (
            options.width, options.heads, options.layers, options.dropout,
        )  # fmt: skip
        self.convolutions = nn.ModuleList(
            nn.Conv1d(source.dim, width, options.kernel, padding=options.kernel // 2, bias=False)
            for source in self.sources
        )
        self.pairs = list(permutations(range(len(self.sources)), 2))
        self.crossmodal = nn.ModuleList(
            Transformer(width, heads, layers, dropout, *FEED_FORWARD) for _ in self.pairs
        )
        joined = width * max(len(self.sources) - 1, 1)
        self.temporal = nn.ModuleList(
            LastStep(joined, heads, max(layers, TEMPORAL_LAYERS), dropout) for _ in self.sources
        )
        self.input_dropout = Dropout(options.input_dropout)
        total = joined * len(self.sources)
        self.residual = nn.ModuleList(nn.Linear(total, total) for _ in range(2))
        self.classifier = nn.Linear(total, outputs)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        streams = self._streams(batch)
        attended: list[list[Tensor]] = [[] for _ in streams]
        for (to, source), crossmodal in zip(self.pairs, self.crossmodal, strict=True):
            inputs = self._embed(*streams[to]), self._embed(*streams[source])
            result = crossmodal(inputs[0], streams[to][1], (inputs[1], streams[source][1]))
            attended[to].append(result)
        last_steps = []
        for (rows, mask), results, temporal in zip(streams, attended, self.temporal, strict=True):
            joined = torch.cat(results or [rows], dim=-1)
            last_steps.append(temporal(self._embed(joined, mask), mask))
        last = torch.cat(last_steps, dim=1)
        enter, leave = self.residual
        return base.Output(self.classifier(last + leave(functional.relu(enter(last)))))

    def _embed(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Scale the input of a transformer and add the positions of its steps."""
        scaled = add_positions(rows * math.sqrt(rows.shape[-1]))
        embedded: Tensor = self.input_dropout(scaled) * mask.unsqueeze(-1)
        return embedded

    def _streams(self, batch: base.Batch) -> Streams:
        return [
            # The convolution would mix padding in.
            (convolution((rows * mask.unsqueeze(-1)).transpose(1, 2)).transpose(1, 2), mask)
            for convolution, rows, mask in zip(
                self.convolutions, batch.rows.values(), batch.masks.values(), strict=True
            )
        ]
