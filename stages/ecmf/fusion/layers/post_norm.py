"""The blocks of JMT's published code: post-norm, with ReLU and without dropout."""

import torch
from torch import Tensor, nn

from ecmf.fusion.layers.sequences import Attention


class PostNormLayer(nn.Module):
    """Attend, add, normalise; feed forward, add, normalise (arXiv 1706.03762, 3.1).

    The hidden layer is as wide as the sequence, as it is there.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout=0.0)
        self.norm, self.feed_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)
        )

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Return (clips, steps, width), zeros where `mask` is false."""
        rows = self.norm(rows + self.attention(rows, rows, mask))
        mixed: Tensor = self.feed_norm(rows + self.feed_forward(rows))
        return mixed * mask.unsqueeze(-1)


class PostNormEncoder(nn.Module):
    """Apply layers, without positions."""

    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(PostNormLayer(width, heads) for _ in range(layers))

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Return (clips, steps, width), zeros where `mask` is false."""
        for layer in self.layers:
            rows = layer(rows, mask)
        return rows


class PairMixer(nn.Module):
    """Mix the pairs of streams at each step.

    (clips, steps, pairs, width) with mask (clips, pairs) -> (clips, steps, self.width). They are
    concatenated for a linear layer to two widths. With self-attention, they are the sequence of an
    encoder and of one more attention, whose last output is read: here that of the last pair that a
    clip has.
    """

    def __init__(
        self, width: int, heads: int, layers: int, pairs: int, self_attention: bool
    ) -> None:
        super().__init__()
        self.self_attention = self_attention
        self.width = width if self_attention else 2 * width
        if self_attention:
            self.encoder = PostNormEncoder(width, heads, layers)
            self.attention = Attention(width, heads, dropout=0.0)
        else:
            self.linear = nn.Linear(width * pairs, 2 * width)

    def forward(self, pairs: Tensor, mask: Tensor) -> Tensor:
        """Mix the pairs; `mask` (clips, pairs) is false for a pair that a clip lacks."""
        if not self.self_attention:
            concatenated: Tensor = self.linear(pairs.flatten(2))
            return concatenated
        clips, steps, count, width = pairs.shape
        rows = pairs.reshape(clips * steps, count, width)
        row_mask = mask.repeat_interleave(steps, dim=0)
        encoded = self.encoder(rows, row_mask)
        attended = self.attention(encoded, encoded, row_mask)
        last = (mask * torch.arange(count, device=mask.device)).argmax(dim=1)
        place = last.repeat_interleave(steps)[:, None, None].expand(-1, 1, width)
        read: Tensor = attended.gather(1, place)
        return read.reshape(clips, steps, width)
