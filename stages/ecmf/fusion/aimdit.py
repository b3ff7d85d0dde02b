"""AIMDiT (arXiv 2407.00743): sequences folded to pictures, convolutions, crossmodal transformers.

"Modality Augmentation and Interaction via Multimodal Dimension Transformation for Emotion
Recognition in Conversations".

From the paper:
- Modality augmentation folds a sequence from 1-D to 2-D, convolves it as Inception does with
  kernels of 1x1, 3x3 and 5x5, unfolds it and adds it to its input.
- Cross-modal and self-modal transformers follow.

Our reading:
- The time axis is folded. A source is resampled to `side²` steps by interpolation, and these are
  laid in rows of `side`: neighbours in a row are neighbours in time, neighbours in a column are one
  row apart, and the width becomes the channels. So a clip's picture does not depend on padding or
  on other clips of the batch.
- A source that has one row in a clip is no sequence, and no picture is folded out of it: it stays
  that one step, normalised and given a position like all others, without convolutions.
- Inception's narrow 1x1 convolutions precede the wide ones, and one more joins the three.
- Each source attends to the steps of all others in one layer, then to its own in another; a model
  of one source has the latter alone.
- The classifier reads each source's mean. Widths, side and dropout are ours.

Left out:
- The conversation around an utterance, as clips here are independent.
- The paper's encoders.
"""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.options import AttentionOptions, Width
from ecmf.fusion.layers.pooling import masked_mean
from ecmf.fusion.layers.sequences import (
    StepProjection,
    Streams,
    TransformerLayer,
    add_positions,
    concatenate,
    resample,
)

NARROWER = 4
"""Ratio of the width to that of each Inception branch."""


class Options(AttentionOptions):
    """Sizes and dropout; all are ours."""

    width: Width = 32
    side: int = Field(4, ge=1, description="Side of the picture; a source has side² steps.")


class Augmentation(nn.Module):
    """Modality augmentation: fold to a picture, convolve in parallel, unfold, add the residual."""

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

    def forward(self, rows: Tensor, folded: Tensor) -> Tensor:
        """Augment (clips, side², width) where `folded` (clips,); elsewhere normalise alone."""
        picture = torch.unflatten(rows.transpose(1, 2), 2, (self.side, self.side))
        branches = [self.point(picture)]
        for reduce, convolve in zip(self.reduce, self.convolve, strict=True):
            branches.append(convolve(functional.gelu(reduce(picture))))
        merged = self.merge(functional.gelu(torch.cat(branches, dim=1)))
        added = self.dropout(merged.flatten(2).transpose(1, 2)) * folded[:, None, None]
        augmented: Tensor = self.norm(rows + added)
        return augmented


class Fusion(base.Fusion):
    """Augment each source, then attend to the other sources, then to itself."""

    order_aware = True

    def __init__(self, sources: Sequence[base.SourceShape], outputs: int, options: Options) -> None:
        super().__init__(sources, outputs)
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
        self.classifier = nn.Linear(width * count, outputs)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        streams = self._augment(batch)
        crossed = self._cross(streams)
        means = [
            self.norm(masked_mean(layer(rows, mask), mask)) * mask[:, :1]
            for layer, (rows, mask) in zip(self.self_modal, crossed, strict=True)
        ]
        return base.Output(self.classifier(self.dropout(torch.cat(means, dim=1))))

    def _augment(self, batch: base.Batch) -> Streams:
        streams = []
        for augmentation, (rows, mask) in zip(
            self.augmentation, self.projection(batch), strict=True
        ):
            count = mask.sum(dim=1)
            augmented = augmentation(resample(rows, mask, self.steps), count > 1)
            # One row is one step, two or more are all the steps of a picture.
            real = torch.where(count > 1, self.steps, count).unsqueeze(1)
            present = torch.arange(self.steps, device=mask.device) < real
            streams.append((add_positions(augmented) * present.unsqueeze(-1), present))
        return streams

    def _cross(self, streams: Streams) -> Streams:
        """Attend from each source to the steps of all others."""
        if not self.cross_modal:
            return streams
        crossed = []
        for number, (layer, (rows, mask)) in enumerate(zip(self.cross_modal, streams, strict=True)):
            others = [other for place, other in enumerate(streams) if place != number]
            crossed.append((layer(rows, mask, concatenate(others)), mask))
        return crossed
