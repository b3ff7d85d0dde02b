"""MulT (arXiv 1906.00295, ACL 2019): every source reads every other one, step by step, unaligned.

Taken from the paper: a temporal convolution brings each source to one width, sines and cosines tell
its steps apart; for every ordered pair a crossmodal transformer lets the steps of the target attend
to those of the other source, whose rows enter each layer as they were; the results of one target
side by side go through a transformer over its own steps; the last step of each target is kept and
a classifier reads them all. Our reading: any number of sources, the layers normalised before each
part as in the published code, a single source goes to its own transformer directly, a pair whose
other source is absent leaves the target to its residual, and a target that is absent gives zeros.
Widths, layers, heads and dropout are ours; a target is `width` times the number of its pairs wide,
so `width` is small. Left out: the residual block before the classifier, whose weights grow with
the fourth power of the number of sources, and separate dropout rates for each part.
"""

from collections.abc import Sequence
from itertools import permutations

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.options import AttentionOptions
from ecmf.fusion.layers.pooling import last_step
from ecmf.fusion.layers.sequences import Streams, Transformer, TransformerLayer, with_positions


class Options(AttentionOptions):
    """Width of a step, `kernel` steps of the convolution, and the size of each transformer."""

    width: int = Field(32, ge=1)
    kernel: int = Field(3, ge=1)
    layers: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _a_kernel_has_a_middle(self) -> "Options":
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel {self.kernel} has no middle step: take an odd number")
        return self


class LastStep(nn.Module):
    """The last real step of each sequence after a transformer, (clips, width); of none, zeros.

    In the last layer no other step asks, for none is kept.
    """

    def __init__(self, width: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.before = nn.ModuleList(
            TransformerLayer(width, heads, dropout) for _ in range(layers - 1)
        )
        self.layer = TransformerLayer(width, heads, dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Go through the layers."""
        for layer in self.before:
            rows = layer(rows, mask)
        last = last_step(rows, mask).unsqueeze(1)
        some = mask.any(dim=1, keepdim=True)
        end: Tensor = self.norm(self.layer(last, some, (rows, mask))).squeeze(1) * some
        return end


class Fusion(base.Fusion):
    """Let each source attend to each other one, then to itself, and read its last step."""

    def __init__(self, sources: Sequence[base.SourceShape], classes: int, options: Options) -> None:
        """Build for these sources."""
        super().__init__(sources, classes)
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
        self.classifier = nn.Linear(joined * len(self.sources), classes)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        streams = self._streams(batch)
        informed: list[list[Tensor]] = [[] for _ in streams]
        for (reader, read), crossmodal in zip(self.pairs, self.crossmodal, strict=True):
            informed[reader].append(crossmodal(*streams[reader], streams[read]))
        ends = []
        for (rows, mask), results, temporal in zip(streams, informed, self.temporal, strict=True):
            joined = torch.cat(results or [rows], dim=-1)
            ends.append(temporal(joined, mask))
        return base.Output(self.classifier(self.dropout(torch.cat(ends, dim=1))))

    def _streams(self, batch: base.Batch) -> Streams:
        streams = []
        for convolution, rows, mask in zip(
            self.convolutions, batch.rows.values(), batch.masks.values(), strict=True
        ):
            real = rows * mask.unsqueeze(-1)  # a convolution would mix in what stands beside it
            steps = with_positions(convolution(real.transpose(1, 2)).transpose(1, 2))
            streams.append((self.dropout(steps) * mask.unsqueeze(-1), mask))
        return streams
