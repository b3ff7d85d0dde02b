"""Several folds and seeds of one fusion model, trained as one program.

On a GPU a small model leaves most of the chip idle: many of them side by side (torch.func.vmap over
stacked weights) are to cost little more than one. Each run has its own clips, weights, mixup,
clipped gradients, averaged weights and early stop; the schedule is the same for all, which is why
only runs of as many batches are stacked.

A stack does what `training.fit` does run by run, but not to the last bit: sums are taken in another
order, and the runs of a stack share one stream of dropout. So what a run becomes depends on who
else is in its stack, and a stack is trained as a whole or not at all. A batch is padded to the
longest clip of all its runs, which no member may notice, but for the pooling: where no clip of a
batch has a second step nothing is weighed, and `fit` leaves those weights as they are; in a stack
they decay, if another run has longer clips.
"""

import copy
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ecmf.data.features import Source
from ecmf.data.splits import Fold
from ecmf.errors import UserError
from ecmf.execution import device
from ecmf.metrics import weighted_f1
from ecmf.params import TrainFusion
from ecmf.training.batch_sampler import count_batches
from ecmf.training.dataset import Dataset
from ecmf.training.early_stopping import Course
from ecmf.training.model import Model
from ecmf.training.optimizers import make_average, make_optimiser, make_schedule
from ecmf.training.targets import Targets
from ecmf.training.trainer import THREADS, Fitted, Start, begin, fit
from ecmf.training.vmap_batches import side_by_side, steps_of
from ecmf.training.vmap_model import Lessons, clip_gradients, logits, predicted, stacked

BYTES_PER_STACK = 1 << 29
"""Of the features of one step of all runs; with what is computed from them about ten times that."""

CLOSE = 1e-3
"""How near what a stack says must be to what its models say alone."""

log = logging.getLogger(__name__)


def wanted() -> bool:
    """Tell whether to stack: `ECMF_STACK` from the environment, 0 or 1, else on a GPU alone.

    Raises:
        UserError: it is neither.
    """
    given = os.environ.get("ECMF_STACK", "")
    if given not in ("", "0", "1"):
        raise UserError(
            f"ECMF_STACK is {given!r}: set it to 1 to train folds and seeds as one program, to 0 "
            "to train them one by one, or unset it to do what is faster on the device"
        )
    return given == "1" or (not given and device.requested() != "cpu")


def most_runs(sources: Sequence[Source], batch: int) -> int:
    """Return how many runs fit into one stack, by the longest clips that a batch may have."""
    numbers = sum(source.dim * int(np.diff(source.starts).max(initial=1)) for source in sources)
    return max(1, BYTES_PER_STACK // (4 * numbers * batch))


def stacks(batches: Sequence[int], most: int) -> list[list[int]]:
    """Positions of the runs, which have so many `batches` -> those of each stack.

    Runs of a stack have the same number of batches; there are at most `most`.
    """
    made: list[list[int]] = []
    for count in dict.fromkeys(batches):
        alike = [number for number, found in enumerate(batches) if found == count]
        made += [part.tolist() for part in np.array_split(alike, -(-len(alike) // most))]
    return made


@device.exact_convolutions()
def fit_stack(
    dataset: Dataset,
    targets: Targets,
    folds: Sequence[Fold],
    seeds: Sequence[int],
    params: TrainFusion,
) -> list[Fitted]:
    """Train a model for each fold with the seed beside it, as `training.fit` does one.

    A model that practises without labels first, or that vmap cannot take, is trained run by run.
    """
    torch.set_num_threads(THREADS)
    starts = [
        begin(dataset, targets, fold, seed, params) for fold, seed in zip(folds, seeds, strict=True)
    ]
    if reason := _hindrance(starts, dataset, targets, params):
        log.warning("%s: trained run by run, for it %s", params.model, reason)
        return [
            fit(dataset, targets, fold, seed, params)
            for fold, seed in zip(folds, seeds, strict=True)
        ]
    torch.manual_seed(seeds[0])
    where = dataset.device
    module = stacked([start.model for start in starts])
    optimiser = make_optimiser(module, params)
    schedule = make_schedule(optimiser, count_batches(len(starts[0].train), params.batch), params)
    averaged = make_average(module, params)
    kept = cast(Model, averaged.module) if averaged else module
    lessons = Lessons(starts, targets, where)
    judged, is_judged = side_by_side([start.judged for start in starts], where)
    truth = [targets.soft[start.judged].argmax(axis=1) for start in starts]

    courses = [Course(params.patience) for _ in starts]
    best: dict[int, Mapping[str, Tensor]] = {}
    for _ in range(params.epochs):
        module.train()
        totals = torch.zeros(len(starts), device=where)
        for step in steps_of(starts, dataset, params):
            losses = lessons.losses(module, dataset, step, params)
            optimiser.zero_grad()
            losses.sum().backward()  # type: ignore[no-untyped-call]
            clip_gradients(module, params.gradient_clip)
            optimiser.step()
            schedule.step()
            if averaged:
                averaged.update_parameters(module)
            totals += losses.detach() * step.real.sum(dim=1)
        answers = predicted(kept, dataset, judged, is_judged)
        for run, (start, course, total) in enumerate(
            zip(starts, courses, totals.tolist(), strict=True)
        ):
            if course.over:
                continue
            own = answers[run, : len(start.judged)]
            score = weighted_f1(truth[run], own) if len(own) else None
            if course.add(total / len(start.train), score):
                best[run] = _one_of(kept, run)
        if all(course.over for course in courses):
            break
    for run, start in enumerate(starts):
        start.model.load_state_dict(best.get(run) or _one_of(kept, run))
    return [
        Fitted(start.model, course.history) for start, course in zip(starts, courses, strict=True)
    ]


def _one_of(module: Model, run: int) -> Mapping[str, Tensor]:
    return {name: tensor[run].clone() for name, tensor in module.state_dict().items()}


def _hindrance(
    starts: Sequence[Start], dataset: Dataset, targets: Targets, params: TrainFusion
) -> str:
    """Say why these models cannot be one program, or nothing; found by trying the first batch."""
    models = [start.model for start in starts]
    if models[0].pretext() is not None:
        return "practises without labels first"
    again = [replace(start, chance=copy.deepcopy(start.chance)) for start in starts]
    step = next(steps_of(again, dataset, params))
    try:
        module = stacked(models).train()
        lessons = Lessons(starts, targets, dataset.device)
        lessons.losses(module, dataset, step, params).sum().backward()  # type: ignore[no-untyped-call]
        together = logits(module, dataset, step.clips, step.real)
        with torch.inference_mode():
            alone = [
                model.eval()(dataset.batch(torch.from_numpy(clips))).logits
                for model, clips in zip(models, step.clips, strict=True)
            ]
    except Exception as error:  # a fault of the member's own is met again run by run
        if device.is_out_of_memory(error):
            raise
        return f"cannot be stacked ({type(error).__name__}: {str(error).partition(chr(10))[0]})"
    if not torch.allclose(together[step.real], torch.stack(alone)[step.real], CLOSE, CLOSE):
        return "says something else in a stack"
    return ""
