"""A source's rows -> one vector per clip."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ecmf.fusion.base import Batch, SourceShape
from ecmf.layers.dropout import Dropout, InputDropout


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last dimension among what `mask` allows; zeros where nothing is."""
    weights = torch.softmax(scores.masked_fill(~mask, torch.finfo(scores.dtype).min), dim=-1)
    return weights * mask


def masked_mean(rows: Tensor, mask: Tensor) -> Tensor:
    """Mean of the real steps: (clips, steps, width) -> (clips, width); of none, zeros."""
    count = mask.sum(dim=1, keepdim=True).clamp(min=1)
    return (rows * mask.unsqueeze(-1)).sum(dim=1) / count


def mean_where(numbers: Tensor, mask: Tensor) -> Tensor:
    """Mean of the real numbers: (clips, steps) -> (clips,); of none, zero."""
    return masked_mean(numbers.unsqueeze(-1), mask).squeeze(-1)


def last_step(rows: Tensor, mask: Tensor) -> Tensor:
    """Return the last real step: (clips, steps, width) -> (clips, width); of none, the first.

    Real steps come first in every sequence.
    """
    place = (mask.sum(dim=1) - 1).clamp(min=0)[:, None, None]
    return rows.gather(1, place.expand(-1, 1, rows.shape[-1])).squeeze(1)


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
        return torch.einsum("bt,btd->bd", self.weights(rows, mask), rows)

    def weights(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Return how much each step counts, (clips, steps)."""
        return masked_softmax(self.score(torch.tanh(self.hidden(rows))).squeeze(-1), mask)


class MeanPooling(nn.Module):
    """The mean of the real steps: (clips, steps, dim) with mask (clips, steps) -> (clips, dim)."""

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Pool over the steps."""
        if rows.shape[1] == 1:
            return rows.squeeze(1)  # it is its own mean
        return masked_mean(rows, mask)


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
        self.dropout = Dropout(dropout)

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
