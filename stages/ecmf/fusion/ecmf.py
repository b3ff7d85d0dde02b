"""ECMF (arXiv 2508.05991, ACM MM 2025): self-attention over the sources, with residuals.

The abstract names the parts; the equations are our reading of it. A source's rows are pooled by
attention and brought to one width, `h_m = GELU(LN(W_m x_m + b_m))`; `H = [h_1..h_M]` with absent
sources masked; `Z = MHA(H, H, H)`; `y_m = LN(h_m + z_m)`; `w = softmax_m(u^T tanh(V y_m))` over the
present sources; `f = [Σ_m w_m y_m ; h_1..h_M]`, so that the original representations are kept;
dropout and a linear classifier. Widths, heads and dropout are ours: the paper's abstract does not
state them. So is `source_loss`, which makes the part of the classifier that reads one `h_m` say the
class by itself too, so that no source starves another ("modality competition").
"""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.options import AttentionOptions
from ecmf.fusion.layers.pooling import AttentionPooling, Projection, mean_where


class Options(AttentionOptions):
    """Widths, and a switch for each part of the mechanism.

    `source_loss` is a weight; it needs `keep_original`, for it trains that part of the classifier.
    """

    width: int = Field(128, ge=1)
    dropout: float = Field(0.3, ge=0, lt=1)
    self_attention: bool = True
    residual: bool = True
    weighting: bool = True
    keep_original: bool = True
    source_loss: float = Field(10.0, ge=0)


class Fusion(base.Fusion):
    """Weigh the sources by self-attention and keep what each of them said."""

    def __init__(self, sources: Sequence[base.SourceShape], classes: int, options: Options) -> None:
        """Build for these sources."""
        super().__init__(sources, classes)
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
        kept = len(self.sources) if options.keep_original else 0
        self.dropout = Dropout(options.dropout)
        self.classifier = nn.Linear(width * (1 + kept), classes)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        present = batch.present()
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
        """Cross entropy of what the classifier says of each present source's `h_m` alone."""
        options = self.options
        if target is None or not (options.source_loss and options.keep_original):
            return {}
        own = self.classifier.weight[:, options.width :].view(self.classes, -1, options.width)
        alone = torch.einsum("bmd,cmd->bmc", original, own) + self.classifier.bias
        loss = -(target.soft[:, None] * alone.log_softmax(dim=-1)).sum(dim=-1)
        return {"source": options.source_loss * mean_where(loss, present)}

    def _attend(self, original: Tensor, present: Tensor) -> Tensor:
        if not self.options.self_attention:
            return original
        # Attention over nothing is undefined: a clip without any source attends to its zeros.
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
