"""JMT (arXiv 2403.10488): every stream asks every other, and a joint stream of all of them.

"Joint Multimodal Transformer for Emotion Recognition in the Wild", workshops of CVPR 2024.

Taken from the paper: beside the streams of the sources stands a joint one, made of all of them at
every step, `j = W[v; a; t]`; each stream has its transformer encoder; every ordered pair of streams
meets in cross-attention, with one attention module per stream that asks; what comes out is
concatenated for a linear layer, or goes through self-attention first (`self_attention`). Inputs are
L2-normalised. The loss is cross entropy for classes and `1 - CCC` for dimensions.

Our reading: sources of different rates are brought to one number of steps, on which the joint
stream is defined; an answer is the mean over the steps of `LN(q + attention(q, k))`; an answer
counts where both of its streams are there, and an absent source gives the joint stream nothing. The
published code knows two sources; here any number. The one dimension of a target is valence, and `1
- CCC` is told clip by clip, `(x - y)² / D`, whose mean over the batch it is. Widths, layers, steps
and the weight of that loss are ours.

Left out: the paper's backbones, which are encoders here.
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
    Attention,
    StepProjection,
    Transformer,
    TransformerLayer,
    resampled,
    with_positions,
)


class Options(AttentionOptions):
    """Sizes, self-attention over the answers, and the weight of the loss of valence, all ours."""

    width: int = Field(32, ge=1)
    layers: int = Field(1, ge=1)
    steps: int = Field(8, ge=1)
    self_attention: bool = False
    valence_loss: float = Field(1.0, ge=0)


class Fusion(base.Fusion):
    """Let every source ask every other one and the joint stream of all."""

    def __init__(self, sources: Sequence[base.SourceShape], classes: int, options: Options) -> None:
        """Build for these sources."""
        super().__init__(sources, classes)
        width, heads, dropout = options.width, options.heads, options.dropout
        count = len(self.sources) + 1
        self.options = options
        self.projection = StepProjection(self.sources, width, dropout)
        self.joint = nn.Linear(width * len(self.sources), width)
        self.encoders = nn.ModuleList(
            Transformer(width, heads, options.layers, dropout) for _ in range(count)
        )
        self.attention = nn.ModuleList(Attention(width, heads, dropout) for _ in range(count))
        self.norm = nn.ModuleList(nn.LayerNorm(width) for _ in range(count))
        if options.self_attention:
            self.answers = TransformerLayer(width, heads, dropout)
        self.dropout = Dropout(dropout)
        pairs = count * (count - 1)
        self.classifier = nn.Linear(width * pairs, classes)
        if options.valence_loss:
            self.valence = nn.Linear(width * pairs, 1)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        encoded, present = self._encode(batch)
        answers, answered = self._ask(encoded, present)
        if self.options.self_attention:
            answers = self.answers(answers, answered)
        fused = self.dropout(answers.flatten(1))
        logits = self.classifier(fused)
        if not self.options.valence_loss:
            return base.Output(logits)
        valence = self.valence(fused).squeeze(-1)
        losses = {}
        if target is not None:
            known = target.valence.isfinite() & present.any(dim=1)
            disagreement = concordance_loss(valence, target.valence.nan_to_num(), known)
            losses["valence"] = self.options.valence_loss * disagreement
        return base.Output(logits, valence=valence, losses=losses)

    def _encode(self, batch: base.Batch) -> tuple[list[Tensor], Tensor]:
        """Return all streams, the joint one last, (clips, steps, width), and who has which."""
        steps = self.options.steps
        unit = {name: functional.normalize(rows, dim=-1) for name, rows in batch.rows.items()}
        streams = [
            resampled(rows, mask, steps)
            for rows, mask in self.projection(base.Batch(unit, batch.masks))
        ]
        streams.append(self.joint(torch.cat(streams, dim=-1)))
        present = batch.present()
        present = torch.cat([present, present.any(dim=1, keepdim=True)], dim=1)
        encoded = [
            encoder(with_positions(rows), present[:, number, None].expand(-1, steps))
            for number, (encoder, rows) in enumerate(zip(self.encoders, streams, strict=True))
        ]
        return encoded, present

    def _ask(self, encoded: list[Tensor], present: Tensor) -> tuple[Tensor, Tensor]:
        """Return the answer of each ordered pair, (clips, pairs, width), and which there are."""
        steps = self.options.steps
        answers, answered = [], []
        for number, (attention, norm, query) in enumerate(
            zip(self.attention, self.norm, encoded, strict=True)
        ):
            others = [other for other in range(len(encoded)) if other != number]
            asked = torch.cat([encoded[other] for other in others])
            there = torch.cat([present[:, other] for other in others])
            again = query.repeat(len(others), 1, 1)
            heard = norm(again + attention(again, asked, there[:, None].expand(-1, steps)))
            both = present[:, others] & present[:, number, None]
            answers.append(heard.mean(dim=1).unflatten(0, (len(others), -1)).transpose(0, 1))
            answered.append(both)
        mask = torch.cat(answered, dim=1)
        return torch.cat(answers, dim=1) * mask.unsqueeze(-1), mask


def concordance_loss(told: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """`1 - CCC` among the known, share by share: their mean is it; zero where not known.

    `D = var x + var y + (mean x - mean y)²` is the batch's.
    """
    count = known.sum().clamp(min=1)
    told_mean, truth_mean = ((values * known).sum() / count for values in (told, truth))
    spread = ((told - told_mean).square() + (truth - truth_mean).square()) * known
    scale = spread.sum() / count + (told_mean - truth_mean).square()
    return (told - truth).square() * known / scale.clamp(min=1e-6)
