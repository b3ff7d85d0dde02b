"""Dropout that is fast on a CPU.

`torch.nn.Dropout` costs five times as much on a CPU: it draws one number of the Mersenne twister
per element, which costs two fifths of a small model's matrix products. Here four elements share the
64 bits of one draw, so a rate is met to 1 in 65,536. A GPU draws fast enough, and uses torch's own.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

LEVELS = 1 << 16
ELEMENTS_PER_DRAW = 4


def dropout(values: Tensor, rate: float, training: bool) -> Tensor:
    """Set values to zero with probability `rate` and divide the others by 1 - rate, in training."""
    dropped = min(round(rate * LEVELS), LEVELS - 1)
    if not training or not dropped:
        return values
    if values.device.type != "cpu":
        return functional.dropout(values, rate)
    draws = -(-values.numel() // ELEMENTS_PER_DRAW)
    bits = torch.randint(-(1 << 63), (1 << 63) - 1, (draws,)).view(torch.int16)
    # The lowest `dropped` of all levels become 0, all others 1: a comparison is slower than this,
    # and so is a bound for numbers of more bits.
    highest = dropped - LEVELS // 2 - 1
    level = bits[: values.numel()].view(values.shape).clamp(highest, highest + 1)
    keep = level.to(torch.float32).sub_(highest).mul_(LEVELS / (LEVELS - dropped))
    return values * keep.to(values.dtype)


class Dropout(nn.Module):
    """Apply `dropout` as a layer."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, values: Tensor) -> Tensor:
        """Drop values of any shape, in training alone."""
        return dropout(values, self.rate, self.training)
