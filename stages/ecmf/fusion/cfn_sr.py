"""CFN-SR (arXiv 2111.02172): the audio guides attention over the steps of the other sources.

"A cross-modal fusion network based on self-attention and residual structure for multimodal emotion
recognition"; ECMF's fusion descends from it.

Taken from the paper: a transformer reads the audio, and its last step is the guide `y`; every
position of the video is scored, `e_p = w^T tanh(W_x x_p + W_y y)`, `α = softmax_p(e)`; a residual
keeps each position, `x'_p = α_p x_p + x_p`; the classifier reads the mean of `x'` and the original
audio. Five layers and eight heads are the published code's.

Our reading: every source that is not a guide is guided. The guides are the sources of the first
branch in `GUIDE_PRIORITY` that the model has: audio, unless it has none. Several guides are
averaged. The positions of all guided sources of a clip share one softmax, so that the guide also
weights the sources, and has an effect where each is a single vector. A clip without its guide has
`y = 0`: each position is then scored by itself alone. In a model of one branch the guides guide
themselves. Positions are encoded before the transformer. The published code sums its maps over the
batch; here each clip has its own. No weights of the sources are returned: the guide has none.

Left out: the paper's video and audio networks, which are encoders here.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.options import AttentionOptions, Heads, Layers
from ecmf.fusion.layers.pooling import last_step, masked_mean, masked_softmax
from ecmf.fusion.layers.sequences import (
    StepProjection,
    Streams,
    Transformer,
    add_positions,
    concatenate,
)

GUIDE_PRIORITY = ("audio", "text", "face", "frame")
"""Branches in the order in which they are preferred as the guide."""


class Options(AttentionOptions):
    """Widths and dropout are ours; layers and heads are the published code's."""

    heads: Heads = 8
    layers: Layers = 5


class Fusion(base.Fusion):
    """Weight the steps of the other sources by the attention of a guiding branch."""

    order_aware = True

    def __init__(self, sources: Sequence[base.SourceShape], outputs: int, options: Options) -> None:
        super().__init__(sources, outputs)
        width = options.width
        branches = [source.branch for source in self.sources]
        leading = next((branch for branch in GUIDE_PRIORITY if branch in branches), branches[0])
        self.guides = [index for index, branch in enumerate(branches) if branch == leading]
        others = [index for index, branch in enumerate(branches) if branch != leading]
        self.guided = others or self.guides
        self.projection = StepProjection(self.sources, width, options.dropout)
        self.transformer = Transformer(width, options.heads, options.layers, options.dropout)
        self.position = nn.Linear(width, width)
        self.guide = nn.Linear(width, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)
        self.dropout = Dropout(options.dropout)
        self.classifier = nn.Linear(width * (len(self.guided) + len(self.guides)), outputs)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        streams = self.projection(batch)
        parts = [
            masked_mean(rows + rows * weights.unsqueeze(-1), mask)
            for weights, (rows, mask) in zip(
                self.attention_weights(streams),
                (streams[index] for index in self.guided),
                strict=True,
            )
        ]
        parts += [masked_mean(*streams[index]) for index in self.guides]
        return base.Output(self.classifier(self.dropout(torch.cat(parts, dim=1))))

    def attention_weights(self, streams: Streams) -> list[Tensor]:
        """Return the weights `α` of the steps of each guided source, (clips, steps) each.

        Over all guided sources of a clip they sum to one.
        """
        guided = [streams[index] for index in self.guided]
        rows, mask = concatenate(guided)
        hidden = torch.tanh(self.position(rows) + self.guide(self._last_steps(streams))[:, None])
        weights = masked_softmax(self.score(hidden).squeeze(-1), mask)
        counts = [mask.shape[1] for _, mask in guided]
        return list(torch.split_with_sizes(weights, counts, dim=1))

    def _last_steps(self, streams: Streams) -> Tensor:
        """Return `y`, the mean over a clip's guides of the transformer's last real step."""
        last = []
        for index in self.guides:
            rows, mask = streams[index]
            last.append(last_step(self.transformer(add_positions(rows), mask), mask))
        present = torch.stack([streams[index][1].any(dim=1) for index in self.guides], dim=1)
        return masked_mean(torch.stack(last, dim=1), present)
