"""Sources by name and the steps each clip has in them -> a batch of random rows, and a model."""

import torch

from ecmf.fusion.base import Batch, SourceShape
from ecmf.model import build

CLASSES = 4


def made_batch(steps, seed=0):
    """`{"audio/a": [3, 0]}`: the first clip has three steps of it, the second none."""
    generator = torch.Generator().manual_seed(seed)
    rows, masks = {}, {}
    for number, (name, counts) in enumerate(steps.items()):
        longest = max(1, *counts)
        masks[name] = torch.arange(longest) < torch.tensor(counts)[:, None]
        drawn = torch.randn(len(counts), longest, 3 + number, generator=generator)
        rows[name] = drawn * masks[name][..., None]
    return Batch(rows, masks)


def made_fusion(member, batch, **options):
    """Build the member for the sources of the batch, as it is in evaluation."""
    shapes = [SourceShape(name, rows.shape[-1]) for name, rows in batch.rows.items()]
    return build(member, options, shapes, CLASSES, seed=1).fusion.eval()


def seen_by(module, model, batch):
    """What goes into `module` while the model reads the batch."""
    seen = []
    handle = module.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    model(batch)
    handle.remove()
    return seen[0]
