"""A batch in training -> one that is harder to learn by heart: clips blended, sources hidden."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecmf.fusion.base import Batch, SourceShape, Target


def mixed(
    batch: Batch, target: Target, weight: Tensor, alpha: float, chance: np.random.Generator
) -> tuple[Batch, Target, Tensor]:
    """Blend each clip with another of the batch, label and weight too (mixup, arXiv 1710.09412)."""
    if not alpha:
        return batch, target, weight
    share, other = draw_mixup(len(weight), alpha, chance)
    return blended(batch, target, weight, share, torch.from_numpy(other).to(weight.device))


def draw_mixup(
    clips: int, alpha: float, chance: np.random.Generator
) -> tuple[float, NDArray[np.int64]]:
    """Draw the share of the other clip from Beta(alpha, alpha), and who that is, (clips,)."""
    return float(chance.beta(alpha, alpha)), chance.permutation(clips)


def blended(
    batch: Batch, target: Target, weight: Tensor, share: float | Tensor, other: Tensor
) -> tuple[Batch, Target, Tensor]:
    """Move each clip towards the one at `other` (clips,) by one `share` for the whole batch.

    A row that only one of the two clips has stays as it is.
    """
    rows = {}
    for name, values in batch.rows.items():
        mask = batch.masks[name]
        both = (mask & mask[other])[..., None]
        rows[name] = torch.lerp(values, values.index_select(0, other), share * both)
    blend = Target(*(part.lerp(part[other], share) for part in target))
    return Batch(rows, batch.masks), blend, weight.lerp(weight[other], share)


def with_hidden_sources(batch: Batch, share: float, sources: Sequence[SourceShape]) -> Batch:
    """Hide each of these sources of each clip with probability `share`, never all that it has."""
    if not share:
        return batch
    masks = {source.name: batch.masks[source.name] for source in sources}
    present = Batch(batch.rows, masks).present()
    keep = torch.rand(present.shape, device=present.device) >= share
    keep |= ~(keep & present).any(dim=1, keepdim=True)
    kept = {name: mask & keep[:, number, None] for number, (name, mask) in enumerate(masks.items())}
    return Batch(batch.rows, {**batch.masks, **kept})
