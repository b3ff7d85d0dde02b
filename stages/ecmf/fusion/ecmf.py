"""ECMF (arXiv 2508.05991, ACM MM 2025): self-attention over the sources, with residuals.

From the paper:
- Self-attention weighs the sources dynamically, against "modality competition".
- Residual connections preserve the original representations.

Our reading:
- The abstract names the parts; all equations, widths, heads and dropout are ours.
- A source's rows are pooled by attention and projected, `h_m = GELU(LN(W_m x_m + b_m))`.
- `H = [h_1..h_M]` with absent sources masked; `Z = MHA(H, H, H)`; `y_m = LN(h_m + z_m)`.
- `w = softmax_m(u^T tanh(V y_m))` over the present sources.
- `f = [Σ_m w_m y_m ; h_1..h_M]` keeps the original representations; a linear classifier reads it.
- `source_loss` is no part of the paper. The part of the classifier that reads one `h_m` must
  predict the class by itself too, so that no source suppresses another. At its default of 10 this
  term outweighs the loss of the fused prediction ten to one; 0 turns it off.

Left out:
- Nothing of the abstract's fusion. Extractors, enriched text and label refinement are other stages.
"""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.options import AttentionOptions, LossWeight, Width
from ecmf.fusion.layers.pooling import AttentionPooling, Projection, mean_where


class Options(AttentionOptions):
    """Sizes, a switch for each part of the mechanism, and the weight of the source loss."""

    width: Width = 128
    self_attention: bool = Field(True, description="Compute `Z`; if false, `y_m = h_m`.")
    residual: bool = Field(True, description="Add `h_m` to `z_m`; if false, `y_m = LN(z_m)`.")
    weighting: bool = Field(True, description="Learn `w_m`; if false, present sources count alike.")
    keep_original: bool = Field(True, description="Append `h_1..h_M` to `f`.")
    source_loss: LossWeight = Field(
        10.0,
        description="Ours, not the paper's: weight of the classification loss of each `h_m`, to "
        "1 of the fused prediction; needs keep_original.",
    )


class Fusion(base.Fusion):
    """Fuse the sources by self-attention, and keep their original representations."""

    def __init__(self, sources: Sequence[base.SourceShape], outputs: int, options: Options) -> None:
        super().__init__(sources, outputs)
        width = options.width
        self.options = options
        self.projection = Projection(self.sources, width, options.dropout)
        if options.self_attention:
            self.attention = nn.MultiheadAttention(
                width, options.heads, dropout=options.dropout, batch_first=True
            )
            self.norm = nn.LayerNorm(width)
        if options.weighting:
            self.weighting = AttentionPooling(width, width)
        originals = len(self.sources) if options.keep_original else 0
        self.dropout = Dropout(options.dropout)
        self.classifier = nn.Linear(width * (1 + originals), outputs)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        present = batch.presence()
        original = self.projection(batch)
        attended = self._attend(original, present)
        weights = self._weigh(attended, present)
        fused = torch.einsum("bm,bmd->bd", weights, attended)
        if self.options.keep_original:
            fused = torch.cat([fused, original.flatten(1)], dim=1)
        logits = self.classifier(self.dropout(fused))
        losses = self._source_losses(original, present, target)
        return base.Output(logits, weights, losses=losses)

    def _source_losses(
        self, original: Tensor, present: Tensor, target: base.Target | None
    ) -> dict[str, Tensor]:
        """Return the mean loss of the task over the present sources, from each `h_m` alone."""
        options = self.options
        if target is None or not (options.source_loss and options.keep_original):
            return {}
        weight = self.classifier.weight[:, options.width :].view(self.outputs, -1, options.width)
        logits = torch.einsum("bmd,cmd->bmc", original, weight) + self.classifier.bias
        return {"source": options.source_loss * mean_where(target.loss(logits), present)}

    def _attend(self, original: Tensor, present: Tensor) -> Tensor:
        if not self.options.self_attention:
            return original
        # Attention is undefined if all keys are masked: a clip without any source attends to zeros.
        hidden = ~present & present.any(dim=1, keepdim=True)
        mixed, _ = self.attention(
            original, original, original, key_padding_mask=hidden, need_weights=False
        )
        attended: Tensor = self.norm(original + mixed if self.options.residual else mixed)
        return attended * present.unsqueeze(-1)

    def _weigh(self, attended: Tensor, present: Tensor) -> Tensor:
        if self.options.weighting:
            return self.weighting.weights(attended, present)
        return present / present.sum(dim=1, keepdim=True).clamp(min=1)
