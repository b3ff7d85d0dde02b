"""Sequences with masks -> sequences: what the members that read steps are built of.

Everything is (clips, steps, width) with a mask (clips, steps). What is masked is zero, in and out,
and changes nothing that is not; a sequence without a real step gives zeros, never NaN.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ecmf.fusion.base import Batch
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.pooling import SourceProjection

Streams = list[tuple[Tensor, Tensor]]
"""Per source its rows and their mask."""


def joined(streams: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """All steps of all streams as one sequence, and which are real."""
    rows, masks = zip(*streams, strict=True)
    return torch.cat(rows, dim=1), torch.cat(masks, dim=1)


class StepProjection(SourceProjection):
    """Every step of every source brought to one width: `LN(W_m x + b_m)`, with dropout."""

    def forward(self, batch: Batch) -> Streams:
        """Project each source; (clips, steps, width) and its mask, in the order of the sources."""
        return [
            (self.dropout(rows) * mask.unsqueeze(-1), mask)
            for rows, mask in zip(self.each(batch.rows.values()), batch.masks.values(), strict=True)
        ]


class Attention(nn.Module):
    """Multi-head attention of one sequence to another, or to itself (arXiv 1706.03762, 3.2.2)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is no multiple of heads {heads}")
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(width, width)
        # A bias of the keys adds the same to every score of a query: it could learn nothing.
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, query: Tensor, rows: Tensor, mask: Tensor) -> Tensor:
        """Attend: (clips, queries, width) to (clips, steps, width) -> (clips, queries, width).

        Queries that have nothing to attend to get zeros.
        """
        asked, known, told = self.query(query), self.key(rows), self.value(rows)
        # Under vmap a linear layer with a bias answers in float32 although autocast asks for less;
        # attention wants one type, and its gradient none that autocast has changed on the way.
        queries, keys, values = (
            part.to(known.dtype).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (asked, known, told)
        )
        some = mask.any(dim=1)[:, None, None]
        with torch.autocast(rows.device.type, enabled=False):
            mixed = functional.scaled_dot_product_attention(
                queries,
                keys,
                values,
                attn_mask=mask[:, None, None, :] | ~some[..., None],  # over nothing: undefined
                dropout_p=self.dropout if self.training else 0.0,
            )
        attended: Tensor = self.out(mixed.transpose(1, 2).flatten(2)) * some
        return attended


class FeedForward(nn.Sequential):
    """Two linear layers with a GELU between: (…, width) -> (…, width)."""

    def __init__(self, width: int, dropout: float, times: int = 2) -> None:
        super().__init__(
            nn.Linear(width, times * width),
            nn.GELU(),
            Dropout(dropout),
            nn.Linear(times * width, width),
            Dropout(dropout),
        )


class TransformerLayer(nn.Module):
    """Attention and feed-forward with residuals, normalised before each (arXiv 2002.04745).

    The keys and values come from another sequence, or from the queries' own where none is given.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout)
        self.dropout = Dropout(dropout)
        self.feed_norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, dropout)

    def forward(
        self, rows: Tensor, mask: Tensor, other: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Mix the steps of `rows`, or what `other` has for them."""
        query = self.norm(rows)
        keys, key_mask = (query, mask) if other is None else (self.norm(other[0]), other[1])
        rows = rows + self.dropout(self.attention(query, keys, key_mask))
        mixed: Tensor = rows + self.feed_forward(self.feed_norm(rows))
        return mixed * mask.unsqueeze(-1)


class Transformer(nn.Module):
    """A stack of layers over one sequence, or of one sequence attending to another; normalised."""

    def __init__(self, width: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TransformerLayer(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(
        self, rows: Tensor, mask: Tensor, other: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Go through the layers."""
        for layer in self.layers:
            rows = layer(rows, mask, other)
        normalised: Tensor = self.norm(rows) * mask.unsqueeze(-1)
        return normalised


def with_positions(rows: Tensor) -> Tensor:
    """Add the sines and cosines of each step's number (arXiv 1706.03762, 3.5)."""
    steps, width = rows.shape[-2:]
    number = torch.arange(steps, device=rows.device, dtype=torch.float32)[:, None]
    half = -(-width // 2)
    rate = torch.exp(torch.arange(half, device=rows.device) * (-math.log(10_000) / max(half, 1)))
    angle = number * rate
    return rows + torch.cat([angle.sin(), angle.cos()], dim=1)[:, :width].to(rows.dtype)


def resampled(rows: Tensor, mask: Tensor, steps: int) -> Tensor:
    """Bring the real steps of each sequence to `steps` of them, by linear interpolation.

    Streams of different rates get one time axis: both ends meet, and a single step stands for all.
    (clips, any, width) -> (clips, steps, width); zeros where there is no real step. Real steps come
    first in every sequence.
    """
    count = mask.sum(dim=1, keepdim=True)
    share = torch.linspace(0, 1, steps, device=rows.device)  # half precision loses the place
    place = share * (count - 1).clamp(min=0)
    lower = place.floor().long()
    upper = torch.minimum(lower + 1, (count - 1).clamp(min=0))
    first, second = (
        rows.gather(1, at[..., None].expand(-1, -1, rows.shape[-1])) for at in (lower, upper)
    )
    between = torch.lerp(first, second, (place - lower).to(rows.dtype).unsqueeze(-1))
    return between * (count > 0).unsqueeze(-1)
