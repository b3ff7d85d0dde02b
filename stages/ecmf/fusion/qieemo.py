"""Qieemo (arXiv 2503.22687): content and emotion streams of one speech encoder, aligned in time.

From the paper:
- Two streams of one speech encoder share their time axis: the content, posteriorgrams `p` of a
  speech recogniser, and the emotional features `e`.
- Cross-modal attention goes both ways, `c = CMA(e, p)` and `c' = CMA(p, e)`.
- The four are concatenated step by step, `MLP[e; p; c; c']`, and pooled.

Our reading:
- `content` names the source of the content stream. The audio encoder `huggingface` makes it with
  `posteriors: true, rows: step`; its hidden states with `rows: step` have the same steps, and with
  the same `row_seconds` both are thinned alike. Then `steps: null` keeps their own time axis.
- The emotion stream is the first other audio source, or else the first other source.
- Without `content`, the first audio source is the content stream and the second the emotion stream.
  With one audio source, the content is the first text source, or else the first other source: this
  is a substitute, whose steps have no common time with the audio, or are one vector repeated. A
  single source is both streams by two projections of its rows.
- With a number of `steps`, streams of different rates are resampled to them by interpolation, which
  leaves out rows of a longer stream.
- Positions are encoded. The steps are pooled by attention. All other sources are pooled, projected
  and appended to the result, for a linear classifier.

Left out:
- Training the recogniser, and the choice of its layers, which is the choice of encoders here.
"""

import functools
import logging
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pad

from ecmf import registry
from ecmf.errors import ParamsError
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

log = logging.getLogger(__name__)


class Options(AttentionOptions):
    """The content stream, the time axis, sizes and dropout; sizes and dropout are ours."""

    content: str | None = Field(
        None, description="Source of the content, `branch/encoder`; null: chosen by its branch."
    )
    steps: int | None = Field(
        16, ge=2, description="Steps to which the streams are resampled; null: they have one rate."
    )
    dropout: DropoutRate = 0.4


def choose_streams(
    sources: Sequence[base.SourceShape], content: str | None = None
) -> tuple[base.SourceShape, base.SourceShape]:
    """Choose the sources of the content stream and of the emotion stream, in this order.

    Raises:
        ParamsError: the content is no source.
    """
    audio = [source for source in sources if source.branch == "audio"]
    if content is not None:
        named = _find(content, sources)
        others = [source for source in (*audio, *sources) if source != named]
        return named, (others or [named])[0]
    if len(audio) > 1 or len(sources) == 1:
        chosen = audio or list(sources)
        return chosen[0], chosen[min(1, len(chosen) - 1)]
    if not audio:
        return sources[0], sources[1]
    others = [source for source in sources if source not in audio]
    return min(others, key=lambda source: source.branch != "text"), audio[0]


def _find(name: str, sources: Sequence[base.SourceShape]) -> base.SourceShape:
    by_name = {source.name: source for source in sources}
    if name not in by_name:
        raise ParamsError(
            f"options of fusion plugin 'qieemo': content {name!r} is not a source: choose one of "
            f"{', '.join(by_name)}.{registry.did_you_mean(name, by_name)}"
        )
    return by_name[name]


@functools.cache
def _log_substitute(content: str, emotion: str) -> None:
    """Log, once, that no content stream of the audio was there."""
    log.info(
        "qieemo: %s stands in for the content of %s, without its time: for a content stream, "
        "encode the audio with {encoder: huggingface, posteriors: true, rows: step} and name it "
        "in train_fusion.options.qieemo.content",
        content, emotion,
    )  # fmt: skip


class Fusion(base.Fusion):
    """Fuse content and emotion of speech by cross-attention on one time axis."""

    order_aware = True

    def __init__(self, sources: Sequence[base.SourceShape], outputs: int, options: Options) -> None:
        super().__init__(sources, outputs)
        width, dropout = options.width, options.dropout
        self.steps = options.steps
        self.streams = choose_streams(self.sources, options.content)
        if self.streams[0].branch != "audio":
            _log_substitute(*(source.name for source in self.streams))
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
        streams = self.projection(pair)
        longest = max(mask.shape[1] for _, mask in streams)
        return [self._place(rows, mask, longest) for rows, mask in streams]

    def _place(self, rows: Tensor, mask: Tensor, longest: int) -> tuple[Tensor, Tensor]:
        """Put a stream on the shared axis, of `longest` steps if it is not resampled."""
        if self.steps is None:
            missing = longest - mask.shape[1]
            rows, mask = pad(rows, (0, 0, 0, missing)), pad(mask, (0, missing))
        else:
            rows = resample(rows, mask, self.steps)
            mask = mask.any(dim=1, keepdim=True).expand(-1, self.steps)
        return add_positions(rows) * mask.unsqueeze(-1), mask
