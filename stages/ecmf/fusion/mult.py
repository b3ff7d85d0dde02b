"""MulT (arXiv 1906.00295, ACL 2019): every source reads every other one, step by step, unaligned.

Taken from the paper: a temporal convolution brings each source to one width, sines and cosines tell
its steps apart; for every ordered pair a crossmodal transformer lets the steps of the target attend
to those of the other source, whose rows enter each layer as they were; the results of one target
side by side go through a transformer over its own steps; the last step of each target is kept and
a classifier reads them all. Our reading: any number of sources, the layers normalised before each
part as in the published code, a single source goes to its own transformer directly, a pair whose
other source is absent leaves the target to its residual, and a target that is absent gives zeros.
Widths, layers, heads and dropout are ours. Left out: the residual block before the classifier,
which grows with the fourth power of the number of sources, dropout rates per modality, and the
mask of future steps, which the published code has as an option.
"""

from collections.abc import Sequence
from itertools import permutations

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from ecmf.fusion import base
from ecmf.pooling import INPUT_DROPOUT
from ecmf.section import Section
from ecmf.sequences import Streams, Transformer, with_positions


class Options(Section):
    """Width of a step, `kernel` steps of the convolution, and the size of each transformer."""

    width: int = Field(64, ge=1)
    kernel: int = Field(3, ge=1)
    heads: int = Field(4, ge=1)
    layers: int = Field(1, ge=1)
    dropout: float = Field(0.3, ge=0, lt=1)

    @model_validator(mode="after")
    def _sizes_fit(self) -> "Options":
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel {self.kernel} has no middle step: take an odd number")
        return self


class Fusion(base.Fusion):
    """Let each source attend to each other one, then to itself, and read its last step."""

    def __init__(self, sources: Sequence[base.SourceShape], classes: int, options: Options) -> None:
        """Build for these sources; `width` must be a multiple of `heads`."""
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
        self.temporal = nn.ModuleList(Transformer(joined, *size) for _ in self.sources)
        self.dropout = nn.Dropout(options.dropout)
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
            ends.append(_last(temporal(joined, mask), mask))
        return base.Output(self.classifier(self.dropout(torch.cat(ends, dim=1))))

    def _streams(self, batch: base.Batch) -> Streams:
        streams = []
        for convolution, rows, mask in zip(
            self.convolutions, batch.rows.values(), batch.masks.values(), strict=True
        ):
            dropped = functional.dropout(rows, INPUT_DROPOUT, self.training)
            steps = with_positions(convolution(dropped.transpose(1, 2)).transpose(1, 2))
            streams.append((self.dropout(steps) * mask.unsqueeze(-1), mask))
        return streams


def _last(rows: Tensor, mask: Tensor) -> Tensor:
    """Take the last real step of each sequence, (clips, width); of none, the zeros there are."""
    last = (mask.sum(dim=1) - 1).clamp(min=0)
    return rows.gather(1, last[:, None, None].expand(-1, 1, rows.shape[-1])).squeeze(1)
