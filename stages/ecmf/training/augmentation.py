"""Augment training batches: mixup, dropout of whole sources, and dropout of input features."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ecmf.data.splits import Indices
from ecmf.fusion.base import Batch, SourceShape, Target
from ecmf.fusion.layers.dropout import dropout

NARROW_WIDTH = 32
"""Features of a source up to which nearly all are kept in training. Of a wider source the geometric
mean of this number and its width is kept."""

MIN_INPUT_DROPOUT = 0.1


def mixup(
    batch: Batch, target: Target, weight: Tensor, alpha: float, rng: np.random.Generator
) -> tuple[Batch, Target, Tensor]:
    """Mix rows, label and weight of each clip with another's of the batch (arXiv 1710.09412)."""
    if not alpha:
        return batch, target, weight
    fraction, partner = draw_mixup(len(weight), alpha, rng)
    return apply_mixup(batch, target, weight, fraction, torch.from_numpy(partner).to(weight.device))


def draw_mixup(clips: int, alpha: float, rng: np.random.Generator) -> tuple[float, Indices]:
    """Draw the partner's fraction from Beta(alpha, alpha), and each clip's partner, (clips,)."""
    return float(rng.beta(alpha, alpha)), rng.permutation(clips)


def apply_mixup(
    batch: Batch, target: Target, weight: Tensor, fraction: float | Tensor, partner: Tensor
) -> tuple[Batch, Target, Tensor]:
    """Move each clip towards the clip at `partner` (clips,) by `fraction`, equal for all clips.

    A row that only one of the two clips has is not changed.
    """
    rows = {}
    for name, values in batch.rows.items():
        mask = batch.masks[name]
        both = (mask & mask[partner])[..., None]
        rows[name] = torch.lerp(values, values.index_select(0, partner), fraction * both)
    mixed = target.map(lambda part: part.lerp(part[partner], fraction))
    return Batch(rows, batch.masks), mixed, weight.lerp(weight[partner], fraction)


def modality_dropout(batch: Batch, probability: float, sources: Sequence[SourceShape]) -> Batch:
    """Hide each of `sources` of a clip with this probability, but never all that the clip has."""
    if not probability:
        return batch
    masks = {source.name: batch.masks[source.name] for source in sources}
    present = Batch(batch.rows, masks).presence()
    keep = torch.rand(present.shape, device=present.device) >= probability
    keep |= ~(keep & present).any(dim=1, keepdim=True)
    remaining = {name: mask & keep[:, i, None] for i, (name, mask) in enumerate(masks.items())}
    return Batch(batch.rows, {**batch.masks, **remaining})


def input_dropout(batch: Batch, sources: Sequence[SourceShape]) -> Batch:
    """Drop features of each of `sources`, at a rate that grows with its width.

    A wide source is memorised first, becomes over-confident on unseen speakers, and then outweighs
    a narrow source. All steps of a clip share one mask (arXiv 1512.05287), which costs next to
    nothing.
    """
    rows = dict(batch.rows)
    for source in sources:
        ones = torch.ones_like(rows[source.name][:, :1])
        kept = dropout(ones, input_dropout_rate(source.dim), training=True)
        rows[source.name] = rows[source.name] * kept
    return Batch(rows, batch.masks)


def input_dropout_rate(dim: int) -> float:
    """Return the rate for a source of width `dim`: 0.1, 0.6 and 0.8 for 35, 192 and 678."""
    return max(MIN_INPUT_DROPOUT, 1 - math.sqrt(NARROW_WIDTH / dim))
