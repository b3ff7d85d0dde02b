"""A selective state space over the steps of a sequence, all steps at once.

(clips, steps, width) with a mask (clips, steps) -> the same shape. What is masked neither moves the
state nor gets an output.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


def scan(inputs: Tensor, decay: Tensor, write: Tensor, read: Tensor) -> Tensor:
    """Run `S_t = exp(decay_t) S_{t-1} + inputs_t write_t^T`, and tell `S_t read_t` of every step.

    Inputs (clips, steps, heads, dim); decay (clips, steps, heads), none above zero; write and read
    (clips, steps, state). Written out, a step's answer is a sum over the steps before it, weighed
    by `read_t · write_s` and by all that was forgotten between: one masked matrix per head, without
    a loop, and no exponent is ever above zero (the dual form of arXiv 2405.21060).
    """
    total = decay.cumsum(dim=1).transpose(1, 2)
    between = total.unsqueeze(-1) - total.unsqueeze(-2)
    steps = between.shape[-1]
    past = torch.ones(steps, steps, dtype=torch.bool, device=decay.device).tril()
    kept = between.masked_fill(~past, -torch.inf).exp()
    answer = torch.einsum("btn,bsn->bts", read, write)
    return torch.einsum("bhts,bshd->bthd", kept * answer.unsqueeze(1), inputs)


class SelectiveStateSpace(nn.Module):
    """Mamba's block (arXiv 2312.00752) with one rate of forgetting per head (arXiv 2405.21060).

    A short causal convolution; step width, write and read vectors made from the step itself; the
    state; a gate. It reads forwards only.
    """

    def __init__(self, width: int, heads: int, state: int, kernel: int = 3) -> None:
        """Build; `width` must be a multiple of `heads`."""
        super().__init__()
        self.heads, self.state = heads, state
        self.enter = nn.Linear(width, 2 * width)
        self.convolution = nn.Conv1d(width, width, kernel, padding=kernel - 1, groups=width)
        self.select = nn.Linear(width, heads + 2 * state)
        # Heads forget at rates of 1 to `heads` per unit of step width, as Mamba starts.
        self.rate = nn.Parameter(torch.arange(1, heads + 1, dtype=torch.float32).log())
        self.skip = nn.Parameter(torch.ones(width))
        self.leave = nn.Linear(width, width)

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Let every step see those before it."""
        real = mask.unsqueeze(-1)
        entered, gate = (self.enter(rows) * real).chunk(2, dim=-1)
        near = self.convolution(entered.transpose(1, 2))[..., : rows.shape[1]].transpose(1, 2)
        near = functional.silu(near) * real
        pace, write, read = self.select(near).split((self.heads, self.state, self.state), dim=-1)
        pace = functional.softplus(pace) * real
        split = near.reshape(*near.shape[:2], self.heads, -1)
        remembered = scan(split * pace.unsqueeze(-1), -pace * self.rate.exp(), write, read)
        mixed: Tensor = self.leave(
            (remembered.flatten(-2) + self.skip * near) * functional.silu(gate)
        )
        return mixed * real
