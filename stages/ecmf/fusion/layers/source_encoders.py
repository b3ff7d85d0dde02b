"""Encode the steps of each source by a transformer of its own."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ecmf.fusion.base import Batch, SourceShape
from ecmf.fusion.layers.sequences import StepProjection, Streams, Transformer, add_positions


class SourceEncoders(nn.Module):
    """Project the steps of each source to one width and encode them by a transformer per source."""

    def __init__(
        self, sources: Sequence[SourceShape], width: int, heads: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.projection = StepProjection(sources, width, dropout)
        self.transformers = nn.ModuleList(
            Transformer(width, heads, layers, dropout) for _ in sources
        )

    def forward(
        self, batch: Batch, hidden: Sequence[Tensor] | None = None, blanks: Tensor | None = None
    ) -> Streams:
        """Encode; the row of a source in `blanks` replaces the steps that `hidden` masks out.

        `hidden` holds (clips, steps) per source, `blanks` is (sources, width).
        """
        streams = []
        for number, (rows, mask) in enumerate(self.projection(batch)):
            if hidden is not None and blanks is not None:
                rows = torch.where(hidden[number].unsqueeze(-1), blanks[number], rows)
            placed = add_positions(rows) * mask.unsqueeze(-1)
            streams.append((self.transformers[number](placed, mask), mask))
        return streams
