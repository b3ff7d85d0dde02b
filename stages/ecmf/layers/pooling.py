"""A source's rows -> one vector per clip."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ecmf.fusion.base import Batch, SourceShape


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
            return rows.squeeze(1) * mask  # nothing to weigh
        weights = masked_softmax(self.score(torch.tanh(self.hidden(rows))).squeeze(-1), mask)
        return torch.einsum("bt,btd->bd", weights, rows)


class MeanPooling(nn.Module):
    """The mean of the real steps: (clips, steps, dim) with mask (clips, steps) -> (clips, dim)."""

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Pool over the steps."""
        return masked_mean(rows, mask)


NUMBERS_READ = 32
"""Of a source with so many numbers or fewer nearly all are read in training, of a wider one the
geometric mean of this and its width."""

LEAST_DROPOUT = 0.1


class InputDropout(nn.Module):
    """Drop numbers of a source in training, the same in all steps of a clip: the more, the wider.

    A source of many numbers is learned by heart first, and then trusted more than it is worth on a
    clip nobody has seen, so that it outvotes a narrow one. With shares of 0.1, 0.6 and 0.8 of 35,
    192 and 678 numbers, all are about as sure of themselves on new speakers as they are right.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.share = max(LEAST_DROPOUT, 1 - math.sqrt(NUMBERS_READ / dim))

    def forward(self, rows: Tensor) -> Tensor:
        """Drop numbers of (clips, dim) or (clips, steps, dim)."""
        if not self.training:
            return rows
        shape = (*rows.shape[:1], *(1 for _ in rows.shape[1:-1]), *rows.shape[-1:])
        return rows * functional.dropout(rows.new_ones(shape), self.share)


class Projection(nn.Module):
    """Every source pooled and brought to one width: `h_m = GELU(LN(W_m x_m + b_m))`, with dropout.

    Batch -> (clips, sources, width); zeros where a clip does not have a source.
    """

    def __init__(self, sources: tuple[SourceShape, ...], width: int, dropout: float) -> None:
        super().__init__()
        self.pooling = nn.ModuleList(AttentionPooling(source.dim, width) for source in sources)
        self.drop = nn.ModuleList(InputDropout(source.dim) for source in sources)
        self.linear = nn.ModuleList(nn.Linear(source.dim, width) for source in sources)
        self.norm = nn.ModuleList(nn.LayerNorm(width) for _ in sources)
        self.dropout = nn.Dropout(dropout)

    def forward(self, batch: Batch) -> Tensor:
        """Pool and project each source."""
        projected = []
        for pooling, drop, linear, norm, rows, mask in zip(
            self.pooling,
            self.drop,
            self.linear,
            self.norm,
            batch.rows.values(),
            batch.masks.values(),
            strict=True,
        ):
            vector = self.dropout(functional.gelu(norm(linear(drop(pooling(rows, mask))))))
            projected.append(vector * mask.any(dim=1, keepdim=True))
        return torch.stack(projected, dim=1)
