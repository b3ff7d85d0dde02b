"""Find numbers of folds that a small corpus can be divided into."""

from collections.abc import Iterator, Sequence

from ecmf.data.manifest import Clip
from ecmf.data.splits import make_folds, require_training_clips
from ecmf.errors import ParamsError
from ecmf.params import RefineLabels, TrainFusion

MANY_GROUPS = 100
"""Corpora of more groups are not checked: they have enough for any usual number of folds."""

Changes = dict[str, int | str]
"""New values of parameters, by their names in params.yaml."""


def fitting_folds(
    clips: Sequence[Clip], training: TrainFusion, refinement: RefineLabels
) -> Changes | None:
    """Return the changes with which a corpus can be divided into folds; None if there are none.

    The folds are made as in the stages, with the same seeds, and as many as possible up to the
    given numbers, or else 0, which trains on all clips without early stopping. The result is empty
    if the given numbers fit. Whether each fold has every class is not checked.

    Raises:
        CorpusError: the corpus has no labelled clip to train on.
    """
    require_training_clips(clips)
    if len({clip.group for clip in clips}) > MANY_GROUPS:
        return {}
    has_test = any(clip.split == "test" for clip in clips)
    fitting: Iterator[Changes] = (
        {"train_fusion.folds": folds, "train_fusion.outer_folds": outer_folds}
        for outer_folds in _down_from(training.outer_folds)
        for folds in [*_down_from(training.folds), 0]
        if all(_fits(clips, folds, outer_folds, seed) for seed in training.seeds)
    )
    given: Changes = {
        "train_fusion.folds": training.folds,
        "train_fusion.outer_folds": training.outer_folds,
    }
    found = next(fitting, None)
    if found is None:
        return None
    if has_test:  # else no model votes on labels
        given["refine_labels.folds"] = refinement.folds
        found |= _fitting_refinement(clips, refinement)
    return {name: value for name, value in found.items() if value != given.get(name)}


def check_folds(clips: Sequence[Clip], training: TrainFusion, refinement: RefineLabels) -> None:
    """Raise ParamsError, with settings that fit, if a labelled corpus cannot be divided as set.

    A corpus without a label to learn from is not checked: its clips can still be encoded.
    """
    learned = {clip.label for clip in clips if clip.split == "train" and clip.label}
    if not learned:
        return
    if len(learned) < 2:
        raise ParamsError(
            f"all training clips have the label {learned.pop()!r}: with fewer than two classes "
            "there is nothing to learn. To decode and encode alone, leave the labels empty"
        )
    changes = fitting_folds(clips, training, refinement)
    if changes is None:
        raise ParamsError(
            "the corpus is too small to be divided into folds, each with groups (speakers, "
            "dialogues or films) of its own: add clips of others, or a test split. To decode and "
            "encode alone, leave the labels empty"
        )
    if changes:
        raise ParamsError(
            "the corpus is too small for the folds in params.yaml. These fit:\n  "
            f"dvc exp run {' '.join(as_arguments(changes))}"
        )


def as_arguments(changes: Changes) -> list[str]:
    """Return the changes as arguments of `dvc exp run`."""
    return [f"-S {name}={value}" for name, value in changes.items()]


def _fitting_refinement(clips: Sequence[Clip], refinement: RefineLabels) -> Changes:
    """Return the folds of the out-of-fold models, or a refiner that has none.

    The rest of each fold is divided again, into as many folds, for early stopping.
    """
    train = [clip for clip in clips if clip.split == "train"]
    groups = len({clip.group for clip in train})
    for folds in _down_from(refinement.folds):
        if _fits(train, min(folds, groups - 1), folds, refinement.seed):
            return {"refine_labels.folds": folds}
    return {"refine_labels.folds": refinement.folds, "refine_labels.refiner": "keep"}


def _down_from(folds: int) -> list[int]:
    """List the numbers to try: the given one, then all lower ones that divide anything."""
    return [folds, *range(folds - 1, 1, -1)]


def _fits(clips: Sequence[Clip], folds: int, outer_folds: int, seed: int) -> bool:
    try:
        made = make_folds(clips, folds, outer_folds, seed)
    except ParamsError:
        return False
    return all(
        len(fold.train) and len(fold.test) and (folds == 0 or len(fold.validation)) for fold in made
    )
