"""CFN-SR (arXiv 2111.02172): the voice says where in the other sources to look.

"A cross-modal fusion network based on self-attention and residual structure for multimodal emotion
recognition"; ECMF's fusion descends from it.

Taken from the paper: a transformer reads the audio, and its last step is the guide `y`; every
position of the video is scored, `e_p = w^T tanh(W_x x_p + W_y y)`, `α = softmax_p(e)`; a residual
keeps what the position said, `x'_p = α_p x_p + x_p`; the classifier reads the mean of `x'` beside
the original audio. Five layers and eight heads are the published code's.

Our reading: every source that does not guide is guided. The guides are the sources of the first
branch in `GUIDES` that the model has: audio, unless it has none. Several guides give their mean.
The positions of all guided sources of a clip stand in one softmax, so that the guide also chooses
between sources, and has something to choose where each is a single vector. A clip without its guide
has `y = 0`: each position is then scored by what it says itself. In a model of one branch the
guides guide themselves. Steps are numbered before the transformer. The published code sums its maps
over the batch; here a clip's map is its own. There are no weights of the sources to report: the
guide has none.

Left out: the paper's video and audio networks, which are encoders here.
"""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.options import AttentionOptions
from ecmf.fusion.layers.pooling import last_step, masked_mean, masked_softmax
from ecmf.fusion.layers.sequences import (
    StepProjection,
    Streams,
    Transformer,
    joined,
    with_positions,
)

GUIDES = ("audio", "text", "face", "frame")
"""The branches, the one that guides first."""


class Options(AttentionOptions):
    """Widths and dropout are ours, layers and heads of the guide the published code's."""

    heads: int = Field(8, ge=1)
    layers: int = Field(5, ge=1)


class Fusion(base.Fusion):
    """Let one branch say which steps of the others count more."""

    def __init__(self, sources: Sequence[base.SourceShape], classes: int, options: Options) -> None:
        """Choose who guides whom, and build."""
        super().__init__(sources, classes)
        width = options.width
        branches = [source.branch for source in self.sources]
        leading = next((branch for branch in GUIDES if branch in branches), branches[0])
        self.guides = [place for place, branch in enumerate(branches) if branch == leading]
        others = [place for place, branch in enumerate(branches) if branch != leading]
        self.guided = others or self.guides
        self.projection = StepProjection(self.sources, width, options.dropout)
        self.transformer = Transformer(width, options.heads, options.layers, options.dropout)
        self.position = nn.Linear(width, width)
        self.guide = nn.Linear(width, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)
        self.dropout = Dropout(options.dropout)
        self.classifier = nn.Linear(width * (len(self.guided) + len(self.guides)), classes)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        streams = self.projection(batch)
        attention = self.attention(streams)
        parts = [
            masked_mean(rows + rows * share.unsqueeze(-1), mask)
            for share, (rows, mask) in zip(
                attention, (streams[place] for place in self.guided), strict=True
            )
        ]
        parts += [masked_mean(*streams[place]) for place in self.guides]
        return base.Output(self.classifier(self.dropout(torch.cat(parts, dim=1))))

    def attention(self, streams: Streams) -> list[Tensor]:
        """Return how the guide weighs the steps of each guided source, (clips, steps) each.

        Over all guided sources of a clip they sum to one.
        """
        guided = [streams[place] for place in self.guided]
        rows, mask = joined(guided)
        hidden = torch.tanh(self.position(rows) + self.guide(self._last_steps(streams))[:, None])
        weights = masked_softmax(self.score(hidden).squeeze(-1), mask)
        counts = [mask.shape[1] for _, mask in guided]
        return list(torch.split_with_sizes(weights, counts, dim=1))

    def _last_steps(self, streams: Streams) -> Tensor:
        """Mean over the guides a clip has of what the transformer says at their last real step."""
        last = []
        for place in self.guides:
            rows, mask = streams[place]
            last.append(last_step(self.transformer(with_positions(rows), mask), mask))
        present = torch.stack([streams[place][1].any(dim=1) for place in self.guides], dim=1)
        return masked_mean(torch.stack(last, dim=1), present)
