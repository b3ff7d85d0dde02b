"""Early fusion: the projected sources side by side, and a linear classifier.

What `ecmf` keeps as original representations, without anything that weighs them.
"""

from collections.abc import Sequence

from pydantic import Field
from torch import nn

from ecmf.config import Section
from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.pooling import Projection


class Options(Section):
    """Width of each source, and dropout."""

    width: int = Field(128, ge=1)
    dropout: float = Field(0.5, ge=0, lt=1)


class Fusion(base.Fusion):
    """Put the vectors side by side; no source weighs more than another."""

    def __init__(self, sources: Sequence[base.SourceShape], classes: int, options: Options) -> None:
        """Build for these sources."""
        super().__init__(sources, classes)
        self.projection = Projection(self.sources, options.width, options.dropout)
        self.dropout = Dropout(options.dropout)
        self.classifier = nn.Linear(options.width * len(self.sources), classes)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        return base.Output(self.classifier(self.dropout(self.projection(batch).flatten(1))))
