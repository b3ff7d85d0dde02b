"""Example to copy: add the logits of a linear classifier per source.

`Projection` brings each source to one vector of the same width. A source that is absent from a clip
must not change its logits, so it is left out of the sum.
"""

from collections.abc import Sequence

import torch
from torch import nn

from ecmf.config import Section
from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.options import DropoutRate, Width
from ecmf.fusion.layers.pooling import Projection


class Options(Section):
    """Width of each source, and dropout."""

    width: Width = 64
    dropout: DropoutRate = 0.3


class Fusion(base.Fusion):
    """Classify each present source, and add their logits."""

    def __init__(self, sources: Sequence[base.SourceShape], outputs: int, options: Options) -> None:
        super().__init__(sources, outputs)
        self.projection = Projection(self.sources, options.width, options.dropout)
        self.dropout = Dropout(options.dropout)
        self.classifiers = nn.ModuleList(nn.Linear(options.width, outputs) for _ in self.sources)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        vectors = self.dropout(self.projection(batch)).unbind(dim=1)  # of each source
        logits = [classify(x) for classify, x in zip(self.classifiers, vectors, strict=True)]
        present = batch.presence().unsqueeze(-1)  # (clips, sources, 1)
        return base.Output((torch.stack(logits, dim=1) * present).sum(dim=1))
