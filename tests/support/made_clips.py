"""Clips of random rows, models that fuse them, and a look at what a part of a model is given."""

import torch

from ecmf.fusion.base import Batch, SourceShape, Target
from ecmf.training.model import build

CLASSES = 4


def made_batch(steps, dims=None, seed=0):
    """Draw rows; `{"audio/a": [3, 0]}`: the first clip has three steps of it, the second none.

    `dims` says how wide the rows of a source are; the others are 3, 4, 5, … numbers wide.
    """
    generator = torch.Generator().manual_seed(seed)
    rows, masks = {}, {}
    for number, (name, counts) in enumerate(steps.items()):
        longest = max(1, *counts)
        dim = (dims or {}).get(name, 3 + number)
        masks[name] = torch.arange(longest) < torch.tensor(counts)[:, None]
        drawn = torch.randn(len(counts), longest, dim, generator=generator)
        rows[name] = drawn * masks[name][..., None]
    return Batch(rows, masks)


def without(batch, name, clips=slice(None)):
    """Take a source away from all clips, or from these."""
    masks = {key: mask.clone() for key, mask in batch.masks.items()}
    masks[name][clips] = False
    rows = {key: values * masks[key][..., None] for key, values in batch.rows.items()}
    return Batch(rows, masks)


def made_target(clips):
    """Classes in turn, and no valence."""
    classes = torch.arange(clips) % CLASSES
    return Target(torch.eye(CLASSES)[classes], torch.full((clips,), torch.nan))


def made_fusion(member, batch, /, **options):
    """Build the member for the sources of the batch, as it is in evaluation."""
    shapes = [SourceShape(name, rows.shape[-1]) for name, rows in batch.rows.items()]
    return build(member, options, shapes, CLASSES, seed=1).fusion.eval()


def seen_by(module, model, *given):
    """Return what goes into `module` while the model reads what it is given."""
    seen = []
    handle = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(*given)
    handle.remove()
    return seen[0]
