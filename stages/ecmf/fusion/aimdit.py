"""AIMDiT (arXiv 2407.00743): sequences folded to pictures, convolved, and crossed by transformers.

"Modality Augmentation and Interaction via Multimodal Dimension Transformation for Emotion
Recognition in Conversations".

Taken from the paper: modality augmentation folds a sequence from 1-D to 2-D, convolves it as
Inception does with kernels of 1x1, 3x3 and 5x5, unfolds it and adds it to what it was; then come
cross-modal and self-modal transformers.

Our reading: what is folded is time. A source is brought to `side²` steps by interpolation, and
these are laid in rows of `side`: neighbours in a row are neighbours in time, neighbours in a column
are one row apart, and the width stands as channels. A clip's picture is thus the same whatever is
padded and whoever is beside it. Inception's narrow 1x1 convolutions stand before the wide ones, and
one more joins the three. Each source asks the steps of all others in one layer, then its own in
another; a model of one source has its own alone. The classifier reads each source's mean. Widths,
side and dropout are ours.

Left out: the conversation an utterance stands in, for clips here are alone; the paper's encoders.
"""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.options import AttentionOptions
from ecmf.fusion.layers.sequences import (
    StepProjection,
    Streams,
    TransformerLayer,
    joined,
    resampled,
    with_positions,
)

NARROWER = 4
"""How much narrower than the width each of Inception's branches is."""


class Options(AttentionOptions):
    """Sizes and dropout, ours; a sequence becomes `side` times `side` steps."""

    width: int = Field(32, ge=1)
    side: int = Field(4, ge=1)


class Augmentation(nn.Module):
    """A sequence as a picture: fold, 1x1, 3x3 and 5x5 convolutions side by side, unfold; residual.

    (clips, side², width) -> the same.
    """

    def __init__(self, width: int, side: int, dropout: float) -> None:
        super().__init__()
        narrow = max(1, width // NARROWER)
        self.side = side
        self.point = nn.Conv2d(width, narrow, 1)
        self.reduce = nn.ModuleList(nn.Conv2d(width, narrow, 1) for _ in range(2))
        self.convolve = nn.ModuleList(
            nn.Conv2d(narrow, narrow, kernel, padding="same") for kernel in (3, 5)
        )
        self.merge = nn.Conv2d(3 * narrow, width, 1)
        self.dropout = Dropout(dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, rows: Tensor) -> Tensor:
        """Augment each sequence by what its picture shows."""
        picture = torch.unflatten(rows.transpose(1, 2), 2, (self.side, self.side))
        seen = [self.point(picture)]
        for reduce, convolve in zip(self.reduce, self.convolve, strict=True):
            seen.append(convolve(functional.gelu(reduce(picture))))
        merged = self.merge(functional.gelu(torch.cat(seen, dim=1)))
        augmented: Tensor = self.norm(rows + self.dropout(merged.flatten(2).transpose(1, 2)))
        return augmented


class Fusion(base.Fusion):
    """Augment each source, then let it ask the others, then itself."""

    def __init__(self, sources: Sequence[base.SourceShape], classes: int, options: Options) -> None:
        """Build for these sources."""
        super().__init__(sources, classes)
        width, dropout, count = options.width, options.dropout, len(self.sources)
        self.steps = options.side**2
        self.projection = StepProjection(self.sources, width, dropout)
        self.augmentation = nn.ModuleList(
            Augmentation(width, options.side, dropout) for _ in self.sources
        )
        self.cross_modal = nn.ModuleList(
            TransformerLayer(width, options.heads, dropout)
            for _ in (self.sources if count > 1 else ())
        )
        self.self_modal = nn.ModuleList(
            TransformerLayer(width, options.heads, dropout) for _ in self.sources
        )
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)
        self.classifier = nn.Linear(width * count, classes)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        streams = self._augment(batch)
        crossed = self._cross(streams)
        means = [
            self.norm(layer(rows, mask).mean(dim=1)) * mask[:, :1]
            for layer, (rows, mask) in zip(self.self_modal, crossed, strict=True)
        ]
        return base.Output(self.classifier(self.dropout(torch.cat(means, dim=1))))

    def _augment(self, batch: base.Batch) -> Streams:
        streams = []
        for augmentation, (rows, mask) in zip(
            self.augmentation, self.projection(batch), strict=True
        ):
            there = mask.any(dim=1, keepdim=True).expand(-1, self.steps)
            augmented = with_positions(augmentation(resampled(rows, mask, self.steps)))
            streams.append((augmented * there.unsqueeze(-1), there))
        return streams

    def _cross(self, streams: Streams) -> Streams:
        """Return each source with what the steps of all others had for it."""
        if not self.cross_modal:
            return streams
        crossed = []
        for number, (layer, (rows, mask)) in enumerate(zip(self.cross_modal, streams, strict=True)):
            others = [other for place, other in enumerate(streams) if place != number]
            crossed.append((layer(rows, mask, joined(others)), mask))
        return crossed
