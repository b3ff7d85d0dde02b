"""Clips of random rows: sequences of different lengths, some sources absent from some clips."""

import torch

from ecmf import plugins
from ecmf.fusion.base import Batch, SourceShape

CLIPS = 8
CLASSES = 4


def made_batch(sources, absent=None, clips=CLIPS, seed=0):
    """`sources` is name -> (dim, most steps), `absent` is name -> clips without it."""
    chance = torch.Generator().manual_seed(seed)
    rows, masks = {}, {}
    for name, (dim, steps) in sources.items():
        counts = torch.randint(1, steps + 1, (clips,), generator=chance)
        counts[list((absent or {}).get(name, ()))] = 0
        masks[name] = torch.arange(steps) < counts[:, None]
        rows[name] = torch.randn(clips, steps, dim, generator=chance) * masks[name][..., None]
    return Batch(rows, masks)


def made_fusion(member, batch, **options):
    """Build the member for the sources of the batch; it does not train."""
    torch.manual_seed(0)
    shapes = [SourceShape(name, rows.shape[-1]) for name, rows in batch.rows.items()]
    checked = plugins.options("fusion", member, options)
    return plugins.load("fusion", member).Fusion(shapes, CLASSES, checked).eval()
