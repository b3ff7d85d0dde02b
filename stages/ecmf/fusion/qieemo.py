"""Qieemo (arXiv 2503.22687): content and emotion streams of one speech encoder, aligned in time.

Taken from the paper: two streams of one speech encoder, the content (there the posteriorgrams of
a speech recogniser, `p`) and the emotional features `e`, share their time axis; cross-modal
attention goes both ways, `c = CMA(e, p)` and `c' = CMA(p, e)`; the four are concatenated step by
step, `MLP[e; p; c; c']`, and pooled.

Our reading: the streams are two sources of the audio branch, the first `p` and the second `e` (two
layers of one encoder, or two encoders; further ones enter as below). With one audio source, its
partner `p` is the first text source, or else the first other source; without audio the first two
sources are the streams; a single source is both streams by two projections of its rows. Streams of
different rates are resampled to one axis of `steps` steps by interpolation, and positions are
encoded. The steps are pooled by attention. All other sources are pooled, projected and appended to
the result, for a linear classifier. Left out: the recogniser and the choice of its layers, which is
the choice of encoders here.
"""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import nn

from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.options import AttentionOptions, DropoutRate
from ecmf.fusion.layers.pooling import AttentionPooling, Projection
from ecmf.fusion.layers.sequences import (
    Attention,
    StepProjection,
    Streams,
    add_positions,
    resample,
)


class Options(AttentionOptions):
    """Sizes and dropout; all are ours."""

    steps: int = Field(16, ge=2, description="Steps of the time axis that the streams share.")
    dropout: DropoutRate = 0.4


def choose_streams(
    sources: Sequence[base.SourceShape],
) -> tuple[base.SourceShape, base.SourceShape]:
    """Choose the sources of the content stream and of the emotion stream, in this order."""
    audio = [source for source in sources if source.branch == "audio"]
    if len(audio) > 1 or len(sources) == 1:
        chosen = audio or list(sources)
        return chosen[0], chosen[min(1, len(chosen) - 1)]
    if not audio:
        return sources[0], sources[1]
    others = [source for source in sources if source not in audio]
    return min(others, key=lambda source: source.branch != "text"), audio[0]


class Fusion(base.Fusion):
    """Fuse content and emotion of speech by cross-attention on one time axis."""

    order_aware = True

    def __init__(self, sources: Sequence[base.SourceShape], outputs: int, options: Options) -> None:
        super().__init__(sources, outputs)
        width, dropout = options.width, options.dropout
        self.steps = options.steps
        self.streams = choose_streams(self.sources)
        self.rest = tuple(source for source in self.sources if source not in self.streams)
        self.projection = StepProjection(self.streams, width, dropout)
        self.to_content = Attention(width, options.heads, dropout)
        self.to_emotion = Attention(width, options.heads, dropout)
        self.fuse = nn.Sequential(
            nn.Linear(4 * width, width), nn.GELU(), Dropout(dropout), nn.Linear(width, width)
        )
        self.pooling = AttentionPooling(width, width)
        if self.rest:
            self.beside = Projection(self.rest, width, dropout)
        self.dropout = Dropout(dropout)
        self.classifier = nn.Linear(width * (1 + len(self.rest)), outputs)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the two streams step by step, and append the other sources."""
        (content, content_mask), (emotion, emotion_mask) = self.align(batch)
        c = self.to_content(emotion, content, content_mask) * emotion_mask.unsqueeze(-1)
        c_prime = self.to_emotion(content, emotion, emotion_mask) * content_mask.unsqueeze(-1)
        steps = self.fuse(torch.cat([emotion, content, c, c_prime], dim=-1))
        fused = self.pooling(steps, content_mask | emotion_mask)
        if self.rest:
            fused = torch.cat([fused, self.beside(batch.select(self.rest)).flatten(1)], dim=1)
        return base.Output(self.classifier(self.dropout(fused)))

    def align(self, batch: base.Batch) -> Streams:
        """Return content and emotion stream, (clips, steps, width), with masks (clips, steps)."""
        # One source may be both streams, so their keys are indices, not names.
        pair = base.Batch(
            {str(index): batch.rows[source.name] for index, source in enumerate(self.streams)},
            {str(index): batch.masks[source.name] for index, source in enumerate(self.streams)},
        )
        streams = []
        for rows, mask in self.projection(pair):
            present = mask.any(dim=1, keepdim=True).expand(-1, self.steps)
            placed = add_positions(resample(rows, mask, self.steps))
            streams.append((placed * present.unsqueeze(-1), present))
        return streams
