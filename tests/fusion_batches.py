"""Batches of random rows, to look into one fusion member with."""

import torch

from ecmf.fusion.base import Batch, SourceShape, Target


def made_shapes(*dims):
    return [SourceShape(f"audio/{number}", dim) for number, dim in enumerate(dims)]


def made_batch(shapes, clips=8, steps=3, absent=()):
    """Every clip has `steps` rows of every source, save the (clip, source) in `absent`.

    `steps` is one number, or one for each source.
    """
    generator = torch.Generator().manual_seed(7)
    counts = [steps] * len(shapes) if isinstance(steps, int) else steps
    rows, masks = {}, {}
    for number, (shape, count) in enumerate(zip(shapes, counts, strict=True)):
        mask = torch.ones(clips, count, dtype=torch.bool)
        mask[[clip for clip, source in absent if source == number]] = False
        made = torch.randn(clips, count, shape.dim, generator=generator)
        rows[shape.name], masks[shape.name] = made * mask[..., None], mask
    return Batch(rows, masks)


def made_target(clips=8, classes=4):
    return Target(
        torch.eye(classes)[torch.arange(clips) % classes], torch.full((clips,), torch.nan)
    )
