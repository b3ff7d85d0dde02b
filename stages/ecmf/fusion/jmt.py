"""JMT (arXiv 2403.10488): cross-attention between all streams, one of which joins all sources.

"Joint Multimodal Transformer for Emotion Recognition in the Wild", workshops of CVPR 2024.

Taken from the paper: beside the streams of the sources there is a joint one, made of all of them at
every step, `j = W[v; a; t]`; each stream has its transformer encoder; every ordered pair of streams
meets in cross-attention, with one attention module per querying stream; the outputs are
concatenated for a linear layer, or go through self-attention first (`self_attention`). Inputs are
L2-normalised. The loss is cross entropy for classes and `1 - CCC` for dimensions.

Our reading: sources of different rates are resampled to one number of steps, on which the joint
stream is defined; a pair's vector is the mean over the steps of `LN(q + attention(q, k))`; it is
zero unless both of its streams are present, and an absent source adds nothing to the joint stream.
The published code supports two sources; here any number. The one dimension of a target is valence,
and `1 - CCC` is split over the clips, `(x - y)² / D`, whose mean over the batch it is. Widths,
layers, steps and the weight of that loss are ours.

Left out: the paper's backbones, which are encoders here.
"""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.options import AttentionOptions, Layers, LossWeight, Width
from ecmf.fusion.layers.sequences import (
    Attention,
    StepProjection,
    Transformer,
    TransformerLayer,
    add_positions,
    resample,
)


class Options(AttentionOptions):
    """Sizes, the variant with self-attention, and the valence loss; sizes and weight are ours."""

    width: Width = 32
    layers: Layers = 1
    steps: int = Field(8, ge=1, description="Steps to which each source is resampled.")
    self_attention: bool = Field(False, description="Apply self-attention to the pairs' vectors.")
    valence_loss: LossWeight = Field(
        1.0, description="Weight of `1 - CCC` of valence; 0 predicts no valence."
    )


class Fusion(base.Fusion):
    """Attend from every stream to every other, with a joint stream of all sources."""

    order_aware = True

    def __init__(self, sources: Sequence[base.SourceShape], outputs: int, options: Options) -> None:
        super().__init__(sources, outputs)
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
        self.classifier = nn.Linear(width * pairs, outputs)
        if options.valence_loss:
            self.valence = nn.Linear(width * pairs, 1)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        encoded, present = self._encode(batch)
        pairs, pair_mask = self._cross_attend(encoded, present)
        if self.options.self_attention:
            pairs = self.answers(pairs, pair_mask)
        fused = self.dropout(pairs.flatten(1))
        logits = self.classifier(fused)
        if not self.options.valence_loss:
            return base.Output(logits)
        valence = self.valence(fused).squeeze(-1)
        losses = {}
        if target is not None:
            truth = target.values["valence"]
            known = truth.isfinite() & present.any(dim=1)
            loss = concordance_loss(valence, truth.nan_to_num(), known)
            losses["valence"] = self.options.valence_loss * loss
        return base.Output(logits, dimensions={"valence": valence}, losses=losses)

    def _encode(self, batch: base.Batch) -> tuple[list[Tensor], Tensor]:
        """Return all streams, (clips, steps, width), the joint one last, and their presence."""
        steps = self.options.steps
        unit = {name: functional.normalize(rows, dim=-1) for name, rows in batch.rows.items()}
        streams = [
            resample(rows, mask, steps)
            for rows, mask in self.projection(base.Batch(unit, batch.masks))
        ]
        streams.append(self.joint(torch.cat(streams, dim=-1)))
        present = batch.presence()
        present = torch.cat([present, present.any(dim=1, keepdim=True)], dim=1)
        encoded = [
            encoder(add_positions(rows), present[:, number, None].expand(-1, steps))
            for number, (encoder, rows) in enumerate(zip(self.encoders, streams, strict=True))
        ]
        return encoded, present

    def _cross_attend(self, encoded: list[Tensor], present: Tensor) -> tuple[Tensor, Tensor]:
        """Return a vector per ordered pair, (clips, pairs, width), and their mask."""
        steps = self.options.steps
        vectors, masks = [], []
        for number, (attention, norm, query) in enumerate(
            zip(self.attention, self.norm, encoded, strict=True)
        ):
            others = [other for other in range(len(encoded)) if other != number]
            keys = torch.cat([encoded[other] for other in others])
            key_mask = torch.cat([present[:, other] for other in others])[:, None]
            queries = query.repeat(len(others), 1, 1)
            attended = norm(queries + attention(queries, keys, key_mask.expand(-1, steps)))
            vectors.append(attended.mean(dim=1).unflatten(0, (len(others), -1)).transpose(0, 1))
            masks.append(present[:, others] & present[:, number, None])
        mask = torch.cat(masks, dim=1)
        return torch.cat(vectors, dim=1) * mask.unsqueeze(-1), mask


def concordance_loss(predicted: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Return `(x - y)² / D` of each clip, zero where not known; its mean over the known is 1 - CCC.

    `D = var x + var y + (mean x - mean y)²` is computed over the known clips of the batch.
    """
    count = known.sum().clamp(min=1)
    predicted_mean, truth_mean = ((values * known).sum() / count for values in (predicted, truth))
    spread = ((predicted - predicted_mean).square() + (truth - truth_mean).square()) * known
    scale = spread.sum() / count + (predicted_mean - truth_mean).square()
    return (predicted - truth).square() * known / scale.clamp(min=1e-6)
