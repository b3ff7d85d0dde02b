"""Batches of random clips, fusion models for them, and the inputs of parts of a model."""

import torch

from ecmf.fusion.base import Batch, SourceShape, Target
from ecmf.params import TrainFusion
from ecmf.training.model import build
from ecmf.training.task import load_task

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
    return class_target(torch.eye(CLASSES)[classes])


def make_fusion(name, batch, /, **options):
    """Build the fusion model for the sources of the batch, in evaluation mode."""
    shapes = [SourceShape(key, rows.shape[-1]) for key, rows in batch.rows.items()]
    return untrained(name, shapes, options).fusion.eval()


def untrained(name, shapes, options=None, classes=CLASSES, seed=1):
    """Build an untrained classifier for sources of these shapes."""
    task = load_task("single_label", [str(number) for number in range(classes)])
    return build(task, TrainFusion(model=name, options={name: options or {}}), shapes, seed)


def captured_input(module, model, *inputs):
    """Run the model and return the input of `module`, one of its parts."""
    captured = []
    handle = module.register_forward_pre_hook(lambda _, args: captured.append(args[0]))
    model(*inputs)
    handle.remove()
    return captured[0]


def class_target(probs, valence=None):
    """Return the target of a classification: probabilities (clips, classes), valence (clips,)."""
    if valence is None:
        valence = torch.full((len(probs),), torch.nan, device=probs.device)
    task = load_task("single_label", [str(number) for number in range(probs.shape[1])])
    return Target({"class_probs": probs, "valence": valence}, task)
