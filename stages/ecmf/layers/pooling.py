"""A source's rows -> one vector per clip."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ecmf.fusion.base import Batch, SourceShape
from ecmf.layers.dropout import Dropout, dropout


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last dimension among what `mask` allows; zeros where nothing is."""
    weights = torch.softmax(scores.masked_fill(~mask, torch.finfo(scores.dtype).min), dim=-1)
    return weights * mask


def masked_mean(rows: Tensor, mask: Tensor) -> Tensor:
    """Mean of the real steps: (clips, steps, width) -> (clips, width); of none, zeros."""
    count = mask.sum(dim=1, keepdim=True).clamp(min=1)
    return (rows * mask.unsqueeze(-1)).sum(dim=1) / count


class AttentionPooling(nn.Module):
    """Weigh the steps of a sequence: `α = softmax_t(w^T tanh(W x_t))`, `Σ_t α_t x_t`.

    (clips, steps, dim) with mask (clips, steps) -> (clips, dim); a sequence without a real step
    gives zeros.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Pool over the steps."""
        if rows.shape[1] == 1:
            return rows.squeeze(1)  # nothing to weigh
        weights = masked_softmax(self.score(torch.tanh(self.hidden(rows))).squeeze(-1), mask)
        return torch.einsum("bt,btd->bd", weights, rows)


class MeanPooling(nn.Module):
    """The mean of the real steps: (clips, steps, dim) with mask (clips, steps) -> (clips, dim)."""

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Pool over the steps."""
        if rows.shape[1] == 1:
            return rows.squeeze(1)  # it is its own mean
        return masked_mean(rows, mask)


INPUT_DROPOUT = 0.1
"""Of a pooled source before it is projected: light, for some sources have few numbers."""


class Projection(nn.Module):
    """Every source pooled and brought to one width: `h_m = GELU(LN(W_m x_m + b_m))`, with dropout.

    Batch -> (clips, sources, width); zeros where a clip does not have a source.
    """

    def __init__(self, sources: tuple[SourceShape, ...], width: int, dropout: float) -> None:
        super().__init__()
        self.pooling = nn.ModuleList(AttentionPooling(source.dim, width) for source in sources)
        self.linear = nn.ModuleList(nn.Linear(source.dim, width) for source in sources)
        self.norm = nn.ModuleList(nn.LayerNorm(width) for _ in sources)
        self.dropout = Dropout(dropout)

    def forward(self, batch: Batch) -> Tensor:
        """Pool and project each source."""
        projected = []
        for pooling, linear, norm, rows, mask in zip(
            self.pooling,
            self.linear,
            self.norm,
            batch.rows.values(),
            batch.masks.values(),
            strict=True,
        ):
            pooled = dropout(pooling(rows, mask), INPUT_DROPOUT, self.training)
            vector = self.dropout(functional.gelu(norm(linear(pooled))))
            projected.append(vector * mask.any(dim=1, keepdim=True))
        return torch.stack(projected, dim=1)
