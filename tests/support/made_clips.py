"""Batches of random clips, fusion models for them, and the inputs of parts of a model."""

import torch

from ecmf.fusion.base import Batch, SourceShape, Target
from ecmf.training.model import build

CLASSES = 4


def make_batch(steps, dims=None, seed=0):
    """Draw rows; `{"audio/a": [3, 0]}`: the first clip has three steps of it, the second none.

    `dims` sets the widths of some sources; the default widths are 3, 4, 5, …
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
    """Remove a source from all clips, or from `clips`."""
    masks = {key: mask.clone() for key, mask in batch.masks.items()}
    masks[name][clips] = False
    rows = {key: values * masks[key][..., None] for key, values in batch.rows.items()}
    return Batch(rows, masks)


def make_target(clips):
    """Make a target of classes in turn, without valence."""
    classes = torch.arange(clips) % CLASSES
    return Target(torch.eye(CLASSES)[classes], torch.full((clips,), torch.nan))


def make_fusion(name, batch, /, **options):
    """Build the fusion model for the sources of the batch, in evaluation mode."""
    shapes = [SourceShape(key, rows.shape[-1]) for key, rows in batch.rows.items()]
    return build(name, options, shapes, CLASSES, seed=1).fusion.eval()


def captured_input(module, model, *inputs):
    """Run the model and return the input of `module`, one of its parts."""
    captured = []
    handle = module.register_forward_pre_hook(lambda _, args: captured.append(args[0]))
    model(*inputs)
    handle.remove()
    return captured[0]
