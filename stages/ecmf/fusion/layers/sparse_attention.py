"""Attention of a sequence to itself that reads all of it coarsely and a little of it finely."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ecmf.fusion.layers.pooling import masked_softmax


class SparseAttention(nn.Module):
    """Blocks' means, and the steps of the best blocks of each query, mixed by a gate.

    (clips, steps, width) with a mask (clips, steps) -> the same shape. The steps are cut into
    blocks of `block`; every query attends to the means of all blocks, and to the single steps of
    the `best` blocks it scores highest there (after arXiv 2502.11089, without its sliding window).
    Each head has its own scores and its own gate. Steps that are masked are in no mean, and a query
    with nothing to attend to gets zeros.
    """

    def __init__(self, width: int, heads: int, block: int, best: int) -> None:
        """Build; `width` must be a multiple of `heads`."""
        super().__init__()
        self.heads, self.block, self.best = heads, block, best
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)  # adds the same to all scores of a query
        self.value = nn.Linear(width, width)
        self.gate = nn.Linear(width, heads)
        self.out = nn.Linear(width, width)

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Let every step attend to the others."""
        queries, keys, values = (
            self._heads(part(rows)) for part in (self.query, self.key, self.value)
        )
        coarse, scores, block_mask = self._coarse(queries, keys, values, mask)
        fine = self._fine(queries, keys, values, mask, self.chosen(scores, block_mask))
        gate = torch.sigmoid(self.gate(rows)).transpose(1, 2).unsqueeze(-1)
        # Under vmap a linear layer with a bias answers in float32 although autocast asks for less.
        mixed = torch.lerp(fine, coarse, gate.to(fine.dtype)).transpose(1, 2).flatten(2)
        attended: Tensor = self.out(mixed) * mask.unsqueeze(-1)
        return attended

    def chosen(self, scores: Tensor, block_mask: Tensor) -> Tensor:
        """Which blocks each query reads finely: scores (…, queries, blocks) -> the same, booleans.

        Blocks as good as the last one chosen are chosen too, so that no order decides between them.
        """
        real = scores.masked_fill(~block_mask, -torch.inf)
        best = real.topk(min(self.best, real.shape[-1]), dim=-1).values
        return (real >= best[..., -1:]) & block_mask

    def _coarse(
        self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        lacking = -mask.shape[1] % self.block
        real = functional.pad(mask, (0, lacking)).reshape(len(mask), -1, self.block)
        count = real.sum(dim=-1).clamp(min=1)[:, None, :, None]
        key_means, value_means = (
            (
                functional.pad(part, (0, 0, 0, lacking)).reshape(
                    *part.shape[:2], -1, self.block, part.shape[-1]
                )
                * real[:, None, ..., None]
            ).sum(dim=3)
            / count
            for part in (keys, values)
        )
        block_mask = real.any(dim=-1)[:, None, None]
        scores = queries @ key_means.transpose(-1, -2) / queries.shape[-1] ** 0.5
        return masked_softmax(scores, block_mask) @ value_means, scores, block_mask

    def _fine(
        self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, chosen: Tensor
    ) -> Tensor:
        steps = mask.shape[1]
        of_steps = chosen.repeat_interleave(self.block, dim=-1)[..., :steps]
        allowed = of_steps & mask[:, None, None]
        scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
        return masked_softmax(scores, allowed) @ values

    def _heads(self, rows: Tensor) -> Tensor:
        return rows.reshape(*rows.shape[:2], self.heads, -1).transpose(1, 2)
