"""Pooling of the steps of a source to one vector per clip."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ecmf.fusion.base import Batch, SourceShape
from ecmf.fusion.layers.dropout import Dropout


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the unmasked entries of the last dimension; zeros where all are masked."""
    weights = torch.softmax(scores.masked_fill(~mask, torch.finfo(scores.dtype).min), dim=-1)
    return weights * mask


def masked_mean(rows: Tensor, mask: Tensor) -> Tensor:
    """Average the real steps: (clips, steps, width) -> (clips, width); zeros without any."""
    count = mask.sum(dim=1, keepdim=True).clamp(min=1)
    return (rows * mask.unsqueeze(-1)).sum(dim=1) / count


def mean_where(numbers: Tensor, mask: Tensor) -> Tensor:
    """Average the unmasked numbers: (clips, steps) -> (clips,); zero without any."""
    return masked_mean(numbers.unsqueeze(-1), mask).squeeze(-1)


def last_step(rows: Tensor, mask: Tensor) -> Tensor:
    """Return the last real step: (clips, steps, width) -> (clips, width); the first without any.

    Real steps come first in every sequence.
    """
    place = (mask.sum(dim=1) - 1).clamp(min=0)[:, None, None]
    return rows.gather(1, place.expand(-1, 1, rows.shape[-1])).squeeze(1)


class AttentionPooling(nn.Module):
    """Pool the steps of a sequence: `α = softmax_t(w^T tanh(W x_t))`, `Σ_t α_t x_t`.

    (clips, steps, dim) with mask (clips, steps) -> (clips, dim); zeros without a real step.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Pool over the steps."""
        if rows.shape[1] == 1:
            return rows.squeeze(1)  # its weight is one
        return torch.einsum("bt,btd->bd", self.weights(rows, mask), rows)

    def weights(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Return the weight of each step, (clips, steps)."""
        return masked_softmax(self.score(torch.tanh(self.hidden(rows))).squeeze(-1), mask)


class MeanPooling(nn.Module):
    """Average the real steps: (clips, steps, dim) with mask (clips, steps) -> (clips, dim)."""

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Pool over the steps."""
        if rows.shape[1] == 1:
            return rows.squeeze(1)  # it is its own mean
        return masked_mean(rows, mask)


class SourceProjection(nn.Module):
    """Project every source to one width: `LN(W_m x + b_m)`; subclasses apply `dropout` to it."""

    def __init__(self, sources: Sequence[SourceShape], width: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.ModuleList(nn.Linear(source.dim, width) for source in sources)
        self.norm = nn.ModuleList(nn.LayerNorm(width) for _ in sources)
        self.dropout = Dropout(dropout)

    def each(self, rows: Iterable[Tensor]) -> Iterator[Tensor]:
        """Project the rows of each source, (…, dim) -> (…, width), before `dropout`."""
        for linear, norm, values in zip(self.linear, self.norm, rows, strict=True):
            yield norm(linear(values))


class Projection(SourceProjection):
    """Pool every source and project it to one width: `h_m = GELU(LN(W_m x_m + b_m))`, with dropout.

    The result is (clips, sources, width), with zeros where a source is absent.
    """

    def __init__(self, sources: Sequence[SourceShape], width: int, dropout: float) -> None:
        pooling = nn.ModuleList(AttentionPooling(source.dim, width) for source in sources)
        super().__init__(sources, width, dropout)
        self.pooling = pooling

    def forward(self, batch: Batch) -> Tensor:
        """Pool and project each source."""
        masks = batch.masks.values()
        pooled = (
            pooling(rows, mask)
            for pooling, rows, mask in zip(self.pooling, batch.rows.values(), masks, strict=True)
        )
        projected = [
            self.dropout(functional.gelu(vector)) * mask.any(dim=1, keepdim=True)
            for vector, mask in zip(self.each(pooled), masks, strict=True)
        ]
        return torch.stack(projected, dim=1)
