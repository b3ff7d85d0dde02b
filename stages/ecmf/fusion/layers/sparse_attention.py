"""Sparse self-attention: coarse over the whole sequence, fine over selected blocks."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ecmf.fusion.layers.pooling import masked_softmax


class SparseAttention(nn.Module):
    """Attend to the means of blocks and to the steps of the best blocks, mixed by a gate.

    (clips, steps, width) with a mask (clips, steps) -> the same shape; `width` is a multiple of
    `heads`. The steps are cut into blocks of `block_size`. Every query attends to the means of all
    blocks, and to the single steps of the `top_blocks` blocks with its highest scores (after arXiv
    2502.11089, without its sliding window). Each head has its own scores and its own gate. Masked
    steps enter no mean. The result is zeros where all steps are masked.
    """

    def __init__(self, width: int, heads: int, block_size: int, top_blocks: int) -> None:
        super().__init__()
        self.heads, self.block_size, self.top_blocks = heads, block_size, top_blocks
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)  # a bias would add the same to all scores
        self.value = nn.Linear(width, width)
        self.gate = nn.Linear(width, heads)
        self.out = nn.Linear(width, width)

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Return (clips, steps, width), zeros where masked."""
        queries, keys, values = (
            self._split_heads(part(rows)) for part in (self.query, self.key, self.value)
        )
        coarse, scores, block_mask = self._attend_to_blocks(queries, keys, values, mask)
        selected = self._select_blocks(scores, block_mask)
        fine = self._attend_to_steps(queries, keys, values, mask, selected)
        gate = torch.sigmoid(self.gate(rows)).transpose(1, 2).unsqueeze(-1)
        # Under vmap a linear layer with a bias returns float32 in spite of autocast.
        mixed = torch.lerp(fine, coarse, gate.to(fine.dtype)).transpose(1, 2).flatten(2)
        attended: Tensor = self.out(mixed) * mask.unsqueeze(-1)
        return attended

    def _select_blocks(self, scores: Tensor, block_mask: Tensor) -> Tensor:
        """Select the best blocks of each query: scores (…, queries, blocks) -> mask of that shape.

        Blocks that tie with the last one selected are selected too, so that order does not matter.
        """
        real = scores.masked_fill(~block_mask, -torch.inf)
        best = real.topk(min(self.top_blocks, real.shape[-1]), dim=-1).values
        return (real >= best[..., -1:]) & block_mask

    def _attend_to_blocks(
        self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        padding = -mask.shape[1] % self.block_size
        real = functional.pad(mask, (0, padding)).reshape(len(mask), -1, self.block_size)
        count = real.sum(dim=-1).clamp(min=1)[:, None, :, None]
        key_means, value_means = (
            (
                functional.pad(part, (0, 0, 0, padding)).reshape(
                    *part.shape[:2], -1, self.block_size, part.shape[-1]
                )
                * real[:, None, ..., None]
            ).sum(dim=3)
            / count
            for part in (keys, values)
        )
        block_mask = real.any(dim=-1)[:, None, None]
        scores = queries @ key_means.transpose(-1, -2) / queries.shape[-1] ** 0.5
        return masked_softmax(scores, block_mask) @ value_means, scores, block_mask

    def _attend_to_steps(
        self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, selected: Tensor
    ) -> Tensor:
        steps = mask.shape[1]
        selected_steps = selected.repeat_interleave(self.block_size, dim=-1)[..., :steps]
        allowed = selected_steps & mask[:, None, None]
        scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
        return masked_softmax(scores, allowed) @ values

    def _split_heads(self, rows: Tensor) -> Tensor:
        return rows.reshape(*rows.shape[:2], self.heads, -1).transpose(1, 2)
