"""Qieemo (arXiv 2503.22687): content and emotion streams of one speech encoder, aligned in time.

Taken from the paper: two streams of one speech encoder, what is said (there the posteriorgrams of
a speech recogniser, `p`) and how it is said (its emotional features, `e`), share their time axis;
cross-modal attention goes both ways, `c = CMA(e, p)` and `c' = CMA(p, e)`; the four are put side
by side step by step, `MLP[e; p; c; c']`, and pooled.

Our reading: the streams are two sources of the audio branch, the first `p` and the second `e` (two
layers of one encoder, or two encoders; further ones enter as below). With one audio source, its
partner `p` is the first text source, or else the first other source; without audio the first two
sources are the streams; a single source is both streams by two projections of its rows. Streams of
different rates are brought to one axis of `steps` steps by interpolation, and steps know their
place. The steps are pooled by attention. Sources that are no stream are pooled, projected and put
beside the result, for a linear classifier. Left out: the recogniser and the choice of its layers,
which is the choice of encoders here.
"""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.options import AttentionOptions
from ecmf.fusion.layers.pooling import AttentionPooling, Projection
from ecmf.fusion.layers.sequences import Attention, StepProjection, resampled, with_positions


class Options(AttentionOptions):
    """Sizes and dropout, ours; `steps` are those of the shared time axis."""

    steps: int = Field(16, ge=2)
    dropout: float = Field(0.4, ge=0, lt=1)


def streams_of(sources: Sequence[base.SourceShape]) -> tuple[base.SourceShape, base.SourceShape]:
    """Choose the sources of the content and of the emotion stream."""
    audio = [source for source in sources if source.branch == "audio"]
    if len(audio) > 1 or len(sources) == 1:
        chosen = audio or list(sources)
        return chosen[0], chosen[min(1, len(chosen) - 1)]
    if not audio:
        return sources[0], sources[1]
    others = [source for source in sources if source not in audio]
    return min(others, key=lambda source: source.branch != "text"), audio[0]


class Fusion(base.Fusion):
    """Let what is said and how it is said attend to each other on one time axis."""

    def __init__(self, sources: Sequence[base.SourceShape], classes: int, options: Options) -> None:
        """Build for these sources."""
        super().__init__(sources, classes)
        width, dropout = options.width, options.dropout
        self.steps = options.steps
        self.streams = streams_of(self.sources)
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
        self.classifier = nn.Linear(width * (1 + len(self.rest)), classes)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the two streams step by step, and put the other sources beside them."""
        content, emotion, said, felt = self.aligned(batch)
        content_for_emotion = self.to_content(emotion, content, said) * felt.unsqueeze(-1)
        emotion_for_content = self.to_emotion(content, emotion, felt) * said.unsqueeze(-1)
        steps = self.fuse(
            torch.cat([emotion, content, content_for_emotion, emotion_for_content], dim=-1)
        )
        fused = self.pooling(steps, said | felt)
        if self.rest:
            fused = torch.cat([fused, self.beside(batch.only(self.rest)).flatten(1)], dim=1)
        return base.Output(self.classifier(self.dropout(fused)))

    def aligned(self, batch: base.Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return both streams, (clips, steps, width), and their masks, (clips, steps)."""
        # One source may be both streams, so they go by their place, not by their name.
        pair = base.Batch(
            {str(place): batch.rows[one.name] for place, one in enumerate(self.streams)},
            {str(place): batch.masks[one.name] for place, one in enumerate(self.streams)},
        )
        rows, masks = [], []
        for stream, mask in self.projection(pair):
            present = mask.any(dim=1, keepdim=True).expand(-1, self.steps)
            placed = with_positions(resampled(stream, mask, self.steps))
            rows.append(placed * present.unsqueeze(-1))
            masks.append(present)
        return rows[0], rows[1], masks[0], masks[1]
