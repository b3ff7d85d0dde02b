"""Numbers in training -> the same with a share of them set to zero, and the others larger for it.

What `torch.nn.Dropout` does, for a fifth of its price on a CPU: torch draws one number of its
Mersenne twister per element there, which costs two fifths of a small model's products. Here
four elements share the 64 bits of one draw, so a share is met to 1 in 65,536. A GPU draws fast
enough, and keeps torch's own.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

LEVELS = 1 << 16
ELEMENTS_PER_DRAW = 4


def dropout(values: Tensor, share: float, training: bool) -> Tensor:
    """Set a `share` of the values to zero and divide the others by what is left, in training."""
    dropped = min(round(share * LEVELS), LEVELS - 1)
    if not training or not dropped:
        return values
    if values.device.type != "cpu":
        return functional.dropout(values, share)
    draws = -(-values.numel() // ELEMENTS_PER_DRAW)
    bits = torch.randint(-(1 << 63), (1 << 63) - 1, (draws,)).view(torch.int16)
    # The lowest `dropped` of all levels become 0, all others 1: a comparison is slower than this,
    # and so is a bound for numbers of more bits.
    highest = dropped - LEVELS // 2 - 1
    level = bits[: values.numel()].view(values.shape).clamp(highest, highest + 1)
    keep = level.to(torch.float32).sub_(highest).mul_(LEVELS / (LEVELS - dropped))
    return values * keep.to(values.dtype)


class Dropout(nn.Module):
    """`dropout` as a layer."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, values: Tensor) -> Tensor:
        """Drop in training alone."""
        return dropout(values, self.share, self.training)


NUMBERS_READ = 32
"""Of a source of so many numbers nearly all are read in training; of a wider one the geometric mean
of this and its width."""

LEAST_SHARE = 0.1


class InputDropout(nn.Module):
    """Hide features of a source in training, the same in all steps of a clip: the more, the wider.

    A source of many numbers is learned by heart first, and then is surer of a speaker whom it has
    not heard than it is right, so that it outvotes a narrow one. Shares are 0.1, 0.6 and 0.8 for
    35, 192 and 678 numbers. One mask per clip (arXiv 1512.05287) costs next to nothing.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.share = max(LEAST_SHARE, 1 - math.sqrt(NUMBERS_READ / dim))

    def forward(self, rows: Tensor) -> Tensor:
        """Hide features of (clips, dim) or (clips, steps, dim)."""
        if not self.training:
            return rows
        each = rows if rows.ndim == 2 else rows[:, :1]
        return rows * dropout(torch.ones_like(each), self.share, training=True)
