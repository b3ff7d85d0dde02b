"""Early fusion: the projected sources concatenated, and a linear classifier.

These are the original representations that `ecmf` keeps, without its attention and weights.
"""

from collections.abc import Sequence

from torch import nn

from ecmf.config import Section
from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.options import DropoutRate, Width
from ecmf.fusion.layers.pooling import Projection


class Options(Section):
    """Width of each source, and dropout."""

    width: Width = 128
    dropout: DropoutRate = 0.5


class Fusion(base.Fusion):
    """Concatenate the vectors of the sources, without weights."""

    def __init__(self, sources: Sequence[base.SourceShape], outputs: int, options: Options) -> None:
        super().__init__(sources, outputs)
        self.projection = Projection(self.sources, options.width, options.dropout)
        self.dropout = Dropout(options.dropout)
        self.classifier = nn.Linear(options.width * len(self.sources), outputs)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        return base.Output(self.classifier(self.dropout(self.projection(batch).flatten(1))))
