"""Selective state space over the steps of a sequence, computed for all steps at once.

(clips, steps, width) with a mask (clips, steps) -> the same shape. Masked steps do not change the
state, and their output is zero.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


def scan(inputs: Tensor, decay: Tensor, write: Tensor, read: Tensor) -> Tensor:
    """Run `S_t = exp(decay_t) S_{t-1} + inputs_t write_t^T` and return `S_t read_t` of every step.

    Inputs are (clips, steps, heads, dim), decay (clips, steps, heads) and at most zero, write and
    read (clips, steps, state). In the dual form (arXiv 2405.21060) the output of a step is a sum
    over the steps s up to it, weighted by `read_t · write_s` and by the decay in between: one
    masked matrix per head, without a loop, and no exponent is ever above zero.
    """
    total = decay.cumsum(dim=1).transpose(1, 2)
    between = total.unsqueeze(-1) - total.unsqueeze(-2)
    steps = between.shape[-1]
    past = torch.ones(steps, steps, dtype=torch.bool, device=decay.device).tril()
    remaining = between.masked_fill(~past, -torch.inf).exp()
    similarity = torch.einsum("btn,bsn->bts", read, write)
    return torch.einsum("bhts,bshd->bthd", remaining * similarity.unsqueeze(1), inputs)


class SelectiveStateSpace(nn.Module):
    """Mamba's block (arXiv 2312.00752) with one decay rate per head (arXiv 2405.21060).

    A short causal convolution; step size, write and read vectors computed from each step; the
    state; a gate. The block is causal. `width` is a multiple of `heads`.
    """

    def __init__(self, width: int, heads: int, state: int, kernel: int = 3) -> None:
        super().__init__()
        self.heads, self.state = heads, state
        self.enter = nn.Linear(width, 2 * width)
        self.convolution = nn.Conv1d(width, width, kernel, padding=kernel - 1, groups=width)
        self.select = nn.Linear(width, heads + 2 * state)
        # Decay rates start at 1 to `heads` per unit of step size, as in Mamba.
        self.rate = nn.Parameter(torch.arange(1, heads + 1, dtype=torch.float32).log())
        self.skip = nn.Parameter(torch.ones(width))
        self.leave = nn.Linear(width, width)

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Return (clips, steps, width), zeros where masked."""
        real = mask.unsqueeze(-1)
        entered, gate = (self.enter(rows) * real).chunk(2, dim=-1)
        local = self.convolution(entered.transpose(1, 2))[..., : rows.shape[1]].transpose(1, 2)
        local = functional.silu(local) * real
        sizes = (self.heads, self.state, self.state)
        step_size, write, read = self.select(local).split(sizes, dim=-1)
        step_size = functional.softplus(step_size) * real
        split = local.reshape(*local.shape[:2], self.heads, -1)
        inputs = split * step_size.unsqueeze(-1)
        states = scan(inputs, -step_size * self.rate.exp(), write, read)
        mixed: Tensor = self.leave((states.flatten(-2) + self.skip * local) * functional.silu(gate))
        return mixed * real
