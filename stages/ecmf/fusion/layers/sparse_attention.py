"""Sparse self-attention: coarse over the whole sequence, fine over selected blocks and nearby."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ecmf.fusion.layers.pooling import masked_softmax


class SparseAttention(nn.Module):
    """Attend to means of blocks, to the steps of the best blocks and to those nearby (2502.11089).

    (clips, steps, width) with a mask (clips, steps) -> the same shape; `width` is a multiple of
    `heads`. The steps are cut into blocks of `block_size`. Every query attends to the means of all
    blocks; to the single steps of the `top_blocks` blocks with its highest scores; and to those at
    most `window` steps away, unless it is 0. A gate, a softmax per query and head, mixes these
    branches. Each head has its own scores. Masked steps enter no mean. The result is zeros where
    all steps are masked.

    With `driven`, an aspect, (clips, width), takes part in every query `q = W_q x + W_a a`, and so
    in the selection of blocks.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        block_size: int,
        top_blocks: int,
        window: int = 0,
        driven: bool = False,
    ) -> None:
        super().__init__()
        self.heads, self.block_size, self.top_blocks = heads, block_size, top_blocks
        self.window = window
        self.query = nn.Linear(width, width)
        self.aspect = nn.Linear(width, width, bias=False) if driven else None
        self.key = nn.Linear(width, width, bias=False)  # a bias would add the same to all scores
        self.value = nn.Linear(width, width)
        self.gate = nn.Linear(width, heads * (3 if window else 2))
        self.out = nn.Linear(width, width)

    def forward(self, rows: Tensor, mask: Tensor, aspect: Tensor | None = None) -> Tensor:
        """Return (clips, steps, width), zeros where masked."""
        query = self.query(rows)
        if self.aspect is not None and aspect is not None:
            query = query + self.aspect(aspect).unsqueeze(1)
        queries, keys, values = (
            self._split_heads(part) for part in (query, self.key(rows), self.value(rows))
        )
        coarse, block_scores, block_mask = self._attend_to_blocks(queries, keys, values, mask)
        scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
        selected = self._select_blocks(block_scores, block_mask)
        steps = [selected.repeat_interleave(self.block_size, dim=-1)[..., : mask.shape[1]]]
        if self.window:
            steps.append(self._nearby(mask))
        real = mask[:, None, None]
        branches = [coarse, *(masked_softmax(scores, allowed & real) @ values for allowed in steps)]
        gate = self.gate(rows).unflatten(-1, (self.heads, -1)).softmax(dim=-1).transpose(1, 2)
        # Under vmap a linear layer with a bias returns float32 in spite of autocast.
        mixed = torch.einsum("chtb,bchtd->cthd", gate.to(coarse.dtype), torch.stack(branches))
        attended: Tensor = self.out(mixed.flatten(2)) * mask.unsqueeze(-1)
        return attended

    def _nearby(self, mask: Tensor) -> Tensor:
        """Return which steps are near each step, (steps, steps)."""
        place = torch.arange(mask.shape[1], device=mask.device)
        return (place[:, None] - place).abs() <= self.window

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

    def _split_heads(self, rows: Tensor) -> Tensor:
        return rows.reshape(*rows.shape[:2], self.heads, -1).transpose(1, 2)
