"""EGMF (arXiv 2601.07565): three experts per modality, and gates over experts and modalities.

From the paper:
- An expert for local detail (1-D convolutions), one for semantic correlation (cross-attention
  between modalities) and one for global context (a transformer).
- Gates in two levels, over the experts of each modality and then over the modalities.

Our reading:
- A source is a modality. `x_m` are its steps at one width; the experts are shared by all sources.
- `e_mk` is the mean over the steps of the output of expert k, `g_m = softmax_k(W tanh(V mean x_m))`
  and `z_m = LN(mean x_m + Σ_k g_mk e_mk)`.
- The correlation expert reads all steps of the other sources, so its gate is closed where a clip
  has no other source, and it is not built for a single source.
- Over the modalities `w = softmax_m(u^T tanh(U [z_m; c]))` with `c` the mean of the present `z_m`;
  a linear classifier reads `[Σ_m w_m z_m ; z_1..z_M]`.

Left out:
- The language model that reads the fused vectors as pseudo tokens, and its adaptation by LoRA.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.options import AttentionOptions, DropoutRate, Layers
from ecmf.fusion.layers.pooling import masked_mean, masked_softmax
from ecmf.fusion.layers.sequences import (
    Attention,
    StepProjection,
    Streams,
    Transformer,
    add_positions,
    concatenate,
)

KERNEL = 3
"""Steps that each of the two successive convolutions spans."""


class Options(AttentionOptions):
    """Sizes and dropout, ours; `layers` are those of the expert for global context."""

    layers: Layers = 1
    dropout: DropoutRate = 0.4


class LocalExpert(nn.Module):
    """Expert for local detail: two convolutions over the steps, with a residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(width, width, KERNEL, padding="same")
        self.second = nn.Conv1d(width, width, KERNEL, padding="same")

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Transform (clips, steps, width); padding stays zero between the convolutions."""
        real = mask.unsqueeze(1)
        hidden = functional.gelu(self.first(rows.transpose(1, 2))) * real
        local: Tensor = (rows.transpose(1, 2) + self.second(hidden)) * real
        return local.transpose(1, 2)


class Fusion(base.Fusion):
    """Run three experts on each source, and gate first the experts and then the sources."""

    order_aware = True

    def __init__(self, sources: Sequence[base.SourceShape], outputs: int, options: Options) -> None:
        super().__init__(sources, outputs)
        width, dropout = options.width, options.dropout
        self.projection = StepProjection(self.sources, width, dropout)
        # Dropout applies before and after the experts; inside them it would cost time and not help.
        self.local = LocalExpert(width)
        self.overall = Transformer(width, options.heads, options.layers, dropout=0.0)
        experts = 2
        if len(self.sources) > 1:
            self.correlation = Attention(width, options.heads, dropout=0.0)
            experts = 3
        self.expert_gate = nn.Sequential(
            nn.Linear(width, width), nn.Tanh(), nn.Linear(width, experts)
        )
        self.norm = nn.LayerNorm(width)
        self.source_gate = nn.Sequential(
            nn.Linear(2 * width, width), nn.Tanh(), nn.Linear(width, 1, bias=False)
        )
        self.dropout = Dropout(dropout)
        self.classifier = nn.Linear(width * (1 + len(self.sources)), outputs)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        present = batch.presence()
        vectors, _ = self.run_experts(self.projection(batch))
        context = masked_mean(vectors, present).unsqueeze(1).expand_as(vectors)
        scores = self.source_gate(torch.cat([vectors, context], dim=-1)).squeeze(-1)
        weights = masked_softmax(scores, present)
        fused = torch.einsum("bm,bmd->bd", weights, vectors)
        both = torch.cat([fused, vectors.flatten(1)], dim=1)
        return base.Output(self.classifier(self.dropout(both)), weights)

    def run_experts(self, streams: Streams) -> tuple[Tensor, Tensor]:
        """Return `z` (clips, sources, width) and the experts' gates (clips, sources, experts)."""
        vectors, gates = [], []
        for number, (rows, mask) in enumerate(streams):
            placed = add_positions(rows) * mask.unsqueeze(-1)
            outputs = [self.local(rows, mask), self.overall(placed, mask)]
            present = mask.any(dim=1)
            expert_masks = [present, present]
            if len(streams) > 1:
                others, other_mask = concatenate(streams[:number] + streams[number + 1 :])
                outputs.append(self.correlation(rows, others, other_mask))
                expert_masks.append(present & other_mask.any(dim=1))
            mean = masked_mean(rows, mask)
            gate = masked_softmax(self.expert_gate(mean), torch.stack(expert_masks, dim=1))
            means = torch.stack([masked_mean(output, mask) for output in outputs], dim=1)
            vector = self.norm(mean + torch.einsum("bk,bkd->bd", gate, self.dropout(means)))
            vectors.append(vector * present.unsqueeze(-1))
            gates.append(gate)
        return torch.stack(vectors, dim=1), torch.stack(gates, dim=1)
