"""Layers over padded sequences: step projection, attention, transformer, resampling.

Sequences are (clips, steps, width) with a mask (clips, steps). Masked steps are zero in and out and
do not affect real ones. A sequence without a real step gives zeros, never NaN.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ecmf.fusion.base import Batch
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.pooling import SourceProjection

Streams = list[tuple[Tensor, Tensor]]
"""Rows (clips, steps, width) and mask (clips, steps) of each source."""


def concatenate(streams: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return all steps of all streams as one sequence, and its mask."""
    rows, masks = zip(*streams, strict=True)
    return torch.cat(rows, dim=1), torch.cat(masks, dim=1)


class StepProjection(SourceProjection):
    """Project every step of every source to one width: `LN(W_m x + b_m)`, with dropout."""

    def forward(self, batch: Batch) -> Streams:
        """Return each source as (clips, steps, width) with its mask, in the order of `sources`."""
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
        # A bias of the keys would add the same to every score of a query: it has no effect.
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, query: Tensor, rows: Tensor, mask: Tensor, *, causal: bool = False) -> Tensor:
        """Attend: (clips, queries, width) to (clips, steps, width) -> (clips, queries, width).

        The result is zeros where all of `rows` are masked. With `causal`, query i attends to the
        steps up to i.
        """
        query, key, value = self.query(query), self.key(rows), self.value(rows)
        # Under vmap a linear layer with a bias returns float32 in spite of autocast. Attention
        # needs one dtype for all three, and autocast must not change it again.
        queries, keys, values = (
            part.to(key.dtype).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (query, key, value)
        )
        some = mask.any(dim=1)[:, None, None]
        attended_to = mask[:, None, None, :] | ~some[..., None]  # undefined if all are masked
        if causal:
            past = mask.new_ones(queries.shape[2], keys.shape[2]).tril()
            attended_to = attended_to & past
        with torch.autocast(rows.device.type, enabled=False):
            mixed = functional.scaled_dot_product_attention(
                queries,
                keys,
                values,
                attn_mask=attended_to,
                dropout_p=self.dropout if self.training else 0.0,
            )
        attended: Tensor = self.out(mixed.transpose(1, 2).flatten(2)) * some
        return attended


class FeedForward(nn.Sequential):
    """Two linear layers with an activation between: (…, width) -> (…, width)."""

    def __init__(
        self,
        width: int,
        dropout: float,
        times: int = 2,
        activation: Callable[[], nn.Module] = nn.GELU,
    ) -> None:
        super().__init__(
            nn.Linear(width, times * width),
            activation(),
            Dropout(dropout),
            nn.Linear(times * width, width),
            Dropout(dropout),
        )


class TransformerLayer(nn.Module):
    """Pre-norm attention and feed-forward with residuals (arXiv 2002.04745).

    Keys and values come from the sequence `context`, or from `rows` itself without one. The
    feed-forward is `times` as wide, two in most models here and four in the published ones.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        dropout: float,
        times: int = 2,
        activation: Callable[[], nn.Module] = nn.GELU,
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout)
        self.dropout = Dropout(dropout)
        self.feed_norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, dropout, times, activation)

    def forward(
        self, rows: Tensor, mask: Tensor, context: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Return (clips, steps, width), zeros where `mask` is false."""
        query = self.norm(rows)
        keys, key_mask = (query, mask) if context is None else (self.norm(context[0]), context[1])
        rows = rows + self.dropout(self.attention(query, keys, key_mask))
        mixed: Tensor = rows + self.feed_forward(self.feed_norm(rows))
        return mixed * mask.unsqueeze(-1)


class Transformer(nn.Module):
    """Layers of self-attention, or of attention to `context`, and a final normalisation."""

    def __init__(
        self,
        width: int,
        heads: int,
        layers: int,
        dropout: float,
        times: int = 2,
        activation: Callable[[], nn.Module] = nn.GELU,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TransformerLayer(width, heads, dropout, times, activation) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(
        self, rows: Tensor, mask: Tensor, context: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Return (clips, steps, width), zeros where `mask` is false."""
        for layer in self.layers:
            rows = layer(rows, mask, context)
        normalised: Tensor = self.norm(rows) * mask.unsqueeze(-1)
        return normalised


def add_positions(rows: Tensor) -> Tensor:
    """Add the sinusoidal encoding of each step's position (arXiv 1706.03762, 3.5)."""
    steps, width = rows.shape[-2:]
    position = torch.arange(steps, device=rows.device, dtype=torch.float32)[:, None]
    half = -(-width // 2)
    rate = torch.exp(torch.arange(half, device=rows.device) * (-math.log(10_000) / max(half, 1)))
    angle = position * rate
    return rows + torch.cat([angle.sin(), angle.cos()], dim=1)[:, :width].to(rows.dtype)


def resample(rows: Tensor, mask: Tensor, steps: int) -> Tensor:
    """Resample the real steps of each sequence to `steps` by linear interpolation.

    Streams of different rates get one time axis: first and last steps align, and a single step is
    repeated. (clips, any, width) -> (clips, steps, width); zeros where there is no real step. Real
    steps come first in every sequence.
    """
    count = mask.sum(dim=1, keepdim=True)
    time = torch.linspace(0, 1, steps, device=rows.device)  # half precision is too coarse here
    position = time * (count - 1).clamp(min=0)
    lower = position.floor().long()
    upper = torch.minimum(lower + 1, (count - 1).clamp(min=0))
    before, after = (
        rows.gather(1, index[..., None].expand(-1, -1, rows.shape[-1])) for index in (lower, upper)
    )
    between = torch.lerp(before, after, (position - lower).to(rows.dtype).unsqueeze(-1))
    return between * (count > 0).unsqueeze(-1)
