"""JMT (arXiv 2403.10488): cross-attention between all streams, one of which joins all sources.

"Joint Multimodal Transformer for Emotion Recognition in the Wild", workshops of CVPR 2024.

From the paper:
- Beside the streams of the sources there is a joint one, made of all of them at every step,
  `j = W[v; a; t]`. Inputs are L2-normalised.
- Each stream has its transformer encoder; every ordered pair of streams meets in cross-attention,
  with one attention module per querying stream.
- The outputs are concatenated for a linear layer, or go through self-attention first
  (`self_attention`), of which the last output is read.
- The loss is cross entropy for classes and `1 - CCC` for dimensions.
- With `published`, the blocks of the published code: encoders with post-norm and ReLU, without
  positions and dropout; attention without residual and norm; a value per step by two linear layers,
  a ReLU and a linear layer.

Our reading:
- Sources of different rates are resampled to one number of steps, on which the joint stream is
  defined. An absent source adds nothing to it.
- A pair is zero unless both of its streams are present; the published code knows no absence.
- Clips have one label: the values of the steps are averaged. Without `published`, a pair's vector
  is the mean over the steps of `LN(q + attention(q, k))`, which a linear layer reads; this equals
  the mean of that layer's values per step.
- Without `published`, self-attention is over the pairs' means, and all its outputs are read.
- The published code supports two sources of equal width; here any number, projected to one width.
- The dimension of a target is valence. `1 - CCC` is split over the clips, `(x - y)² / D`, whose
  mean over the batch it is.
- Widths, layers, steps and the weight of that loss are ours.

Left out:
- The paper's backbones, which are encoders here.
- Arousal, and a label per step, which no task has.
"""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ecmf.fusion import base
from ecmf.fusion.layers.concordance import concordance_loss
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.options import AttentionOptions, Layers, LossWeight, Width
from ecmf.fusion.layers.post_norm import PairMixer, PostNormEncoder
from ecmf.fusion.layers.sequences import (
    Attention,
    StepProjection,
    Transformer,
    TransformerLayer,
    add_positions,
    resample,
)


class Options(AttentionOptions):
    """Sizes, the variants, and the valence loss; sizes and weight are ours."""

    width: Width = 32
    layers: Layers = 1
    steps: int = Field(8, ge=1, description="Steps to which each source is resampled.")
    self_attention: bool = Field(False, description="Apply self-attention to the pairs' vectors.")
    published: bool = Field(
        False, description="Use the published code's blocks and value per step."
    )
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
            PostNormEncoder(width, heads, options.layers)
            if options.published
            else Transformer(width, heads, options.layers, dropout)
            for _ in range(count)
        )
        self.attention = nn.ModuleList(
            Attention(width, heads, 0.0 if options.published else dropout) for _ in range(count)
        )
        pairs = count * (count - 1)
        if options.published:
            self.mixer = PairMixer(width, heads, options.layers, pairs, options.self_attention)
        else:
            self.norm = nn.ModuleList(nn.LayerNorm(width) for _ in range(count))
            if options.self_attention:
                self.answers = TransformerLayer(width, heads, dropout)
        self.dropout = Dropout(dropout)
        self.classifier = self._value_layers(pairs, outputs)
        if options.valence_loss:
            self.valence = self._value_layers(pairs, 1)

    def _value_layers(self, pairs: int, outputs: int) -> nn.Module:
        """Return the layers from what is read at a step to its values."""
        if not self.options.published:
            return nn.Linear(self.options.width * pairs, outputs)
        hidden = max(1, self.options.width // 4)
        return nn.Sequential(
            nn.Linear(self.mixer.width, hidden),
            nn.ReLU(),
            Dropout(self.options.dropout),
            nn.Linear(hidden, outputs),
        )

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        encoded, present = self._encode(batch)
        fused = self._fuse(*self._cross_attend(encoded, present))
        logits = self.classifier(fused).mean(dim=1)
        if not self.options.valence_loss:
            return base.Output(logits)
        valence = self.valence(fused).mean(dim=1).squeeze(-1)
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
        if not self.options.published:
            streams = [add_positions(rows) for rows in streams]
        encoded = [
            encoder(rows, present[:, number, None].expand(-1, steps))
            for number, (encoder, rows) in enumerate(zip(self.encoders, streams, strict=True))
        ]
        return encoded, present

    def _cross_attend(self, encoded: list[Tensor], present: Tensor) -> tuple[Tensor, Tensor]:
        """Return each ordered pair, (clips, steps, pairs, width), and their mask, (clips, pairs).

        Unless `published`, the steps are averaged to one.
        """
        steps, published = self.options.steps, self.options.published
        results, masks = [], []
        for number, (attention, query) in enumerate(zip(self.attention, encoded, strict=True)):
            others = [other for other in range(len(encoded)) if other != number]
            keys = torch.cat([encoded[other] for other in others])
            key_mask = torch.cat([present[:, other] for other in others])[:, None]
            queries = query.repeat(len(others), 1, 1)
            attended = attention(queries, keys, key_mask.expand(-1, steps))
            if not published:
                attended = self.norm[number](queries + attended).mean(dim=1, keepdim=True)
            results.append(attended.unflatten(0, (len(others), -1)).permute(1, 2, 0, 3))
            masks.append(present[:, others] & present[:, number, None])
        mask = torch.cat(masks, dim=1)
        return torch.cat(results, dim=2) * mask[:, None, :, None], mask

    def _fuse(self, pairs: Tensor, mask: Tensor) -> Tensor:
        """Return what is read at each step, (clips, steps, any)."""
        if self.options.published:
            mixed: Tensor = self.mixer(pairs, mask)
            return mixed
        if self.options.self_attention:
            pairs = self.answers(pairs.squeeze(1), mask).unsqueeze(1)
        fused: Tensor = self.dropout(pairs.flatten(2))
        return fused
