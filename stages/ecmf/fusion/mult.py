"""MulT (arXiv 1906.00295, ACL 2019): crossmodal attention between unaligned sequences.

From the paper:
- A temporal convolution brings each source to one width; sinusoids encode the positions.
- For every ordered pair a crossmodal transformer lets the steps of the target attend to those of
  the other source, whose rows enter each layer unchanged.
- The results of one target are concatenated and go through a transformer over its own steps.
- The last step of each target is kept and a classifier reads them all.

Our reading:
- Any number of sources; a single source goes to its own transformer directly.
- Layers are normalised before each part, as in the published code.
- A pair whose other source is absent leaves the target its residual; a target that is absent gives
  zeros.
- Widths, layers, heads and dropout are ours; a target is `width` times the number of its pairs
  wide, so `width` is small.

Left out:
- The residual block before the classifier, whose weights grow with the fourth power of the number
  of sources.
- Separate dropout rates for each part.
"""

from collections.abc import Sequence
from itertools import permutations

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.options import AttentionOptions, Layers, Width
from ecmf.fusion.layers.pooling import last_step
from ecmf.fusion.layers.sequences import Streams, Transformer, TransformerLayer, add_positions


class Options(AttentionOptions):
    """Sizes of the convolution and the transformers, and dropout; all are ours."""

    width: Width = 32
    kernel: int = Field(3, ge=1, description="Steps that the temporal convolution spans; odd.")
    layers: Layers = 1

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
            TransformerLayer(width, heads, dropout) for _ in range(layers - 1)
        )
        self.layer = TransformerLayer(width, heads, dropout)
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
        size = (options.heads, options.layers, options.dropout)
        others = len(self.sources) - 1
        self.convolutions = nn.ModuleList(
            nn.Conv1d(source.dim, options.width, options.kernel, padding=options.kernel // 2)
            for source in self.sources
        )
        self.pairs = list(permutations(range(len(self.sources)), 2))
        self.crossmodal = nn.ModuleList(Transformer(options.width, *size) for _ in self.pairs)
        joined = options.width * max(others, 1)
        self.temporal = nn.ModuleList(LastStep(joined, *size) for _ in self.sources)
        self.dropout = Dropout(options.dropout)
        self.classifier = nn.Linear(joined * len(self.sources), outputs)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        streams = self._streams(batch)
        attended: list[list[Tensor]] = [[] for _ in streams]
        for (to, source), crossmodal in zip(self.pairs, self.crossmodal, strict=True):
            attended[to].append(crossmodal(*streams[to], streams[source]))
        last_steps = []
        for (rows, mask), results, temporal in zip(streams, attended, self.temporal, strict=True):
            last_steps.append(temporal(torch.cat(results or [rows], dim=-1), mask))
        return base.Output(self.classifier(self.dropout(torch.cat(last_steps, dim=1))))

    def _streams(self, batch: base.Batch) -> Streams:
        streams = []
        for convolution, rows, mask in zip(
            self.convolutions, batch.rows.values(), batch.masks.values(), strict=True
        ):
            real = rows * mask.unsqueeze(-1)  # the convolution would mix padding in
            steps = add_positions(convolution(real.transpose(1, 2)).transpose(1, 2))
            streams.append((self.dropout(steps) * mask.unsqueeze(-1), mask))
        return streams
