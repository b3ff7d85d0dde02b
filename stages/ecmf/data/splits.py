"""Split clips into training, validation and test folds by group, so that no speaker is in two."""

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from ecmf.data.manifest import Clip
from ecmf.errors import CorpusError, ParamsError

Indices = NDArray[np.int64]
"""Positions of clips in the manifest."""

EMPTY: Indices = np.array([], "int64")

HOLD_OUT = "the inverse of --hold-out"

REFIT = -1
"""Number of the fold whose model is trained on all clips that are not tested."""


@dataclass(frozen=True)
class Fold:
    """The clips of one training run.

    The model is fitted to `train`; `validation` is for early stopping; `test` is not used. `fold`
    numbers the inner folds of `outer_fold`, or is REFIT. `unlabelled` are clips that
    self-supervised pretraining may use: none of their groups is in validation or test.
    """

    outer_fold: int
    fold: int
    train: Indices
    validation: Indices
    test: Indices
    unlabelled: Indices = field(default_factory=EMPTY.copy)

    @property
    def name(self) -> str:
        """Name of the fold in files and tables."""
        return f"round{self.outer_fold}-{'refit' if self.fold == REFIT else f'fold{self.fold}'}"


def positions_tested(clips: Sequence[Clip], decisions: Sequence[str]) -> Indices:
    """Return the positions of the clips that a score is of.

    They are the clips of the test split, or of train, val and test in a corpus without one, because
    each is tested once. A clip whose true decision is empty cannot be scored and is left out.
    """
    has_test = any(clip.split == "test" for clip in clips)
    splits = {"test"} if has_test else {"train", "val", "test"}
    tested = [i for i, clip in enumerate(clips) if decisions[i] and clip.split in splits]
    return np.array(tested, "int64")


def make_folds(clips: Sequence[Clip], folds: int, outer_folds: int, seed: int) -> list[Fold]:
    """Return the folds of one seed, the same for every model.

    A corpus with a test split has one outer fold. Its training split is divided into `folds` by
    group; each is used once for early stopping, and the corpus's validation split is left for
    choosing between experiments. With `folds` 1, the whole training split is trained on and the
    corpus's validation split is for early stopping, as is usual on MELD. With `folds` 0, the whole
    training split is trained on for all epochs, without early stopping.

    A corpus without a test split is divided into `outer_folds` by group; each is tested once, and
    the others are divided as above (nested cross-validation).

    Raises:
        CorpusError: the corpus has no labelled clip to train on.
        ParamsError: the corpus has fewer groups than folds, or no validation split for `folds` 1.
    """
    require_training_clips(clips)
    split = np.array([clip.split for clip in clips])
    test = np.flatnonzero(split == "test")
    if len(test):
        train, validation = np.flatnonzero(split == "train"), np.flatnonzero(split == "val")
        return _inner_folds(clips, 0, train, validation, test, folds, seed)
    pool = np.flatnonzero((split == "train") | (split == "val"))
    outer = _grouped_folds(clips, pool, outer_folds, seed, "train_fusion.outer_folds")
    return [
        fold
        for number, (train, test) in enumerate(outer)
        for fold in _inner_folds(clips, number, train, EMPTY, test, folds, seed)
    ]


def require_training_clips(clips: Sequence[Clip]) -> None:
    """Raise a CorpusError if no fold of the clips could have a clip to train on."""
    splits = {clip.split for clip in clips}
    if "train" in splits or ("val" in splits and "test" not in splits):
        return
    raise CorpusError(
        f"none of the {len(clips)} clips is of the split train and labelled, so there is nothing "
        "to train on: label clips in the corpus's own table (of a folder: column label of "
        "clips.csv), then run `ecmf index` again"
    )


def refit_fold(folds: Sequence[Fold]) -> Fold:
    """Return the fold that trains on all clips of the inner folds of one outer fold."""
    train = np.unique(np.concatenate([folds[0].train, folds[0].validation]))
    return Fold(folds[0].outer_fold, REFIT, train, EMPTY, folds[0].test)


def hold_out_test(clips: Sequence[Clip], fraction: float, seed: int) -> list[Clip]:
    """Move about `fraction` of the training clips into a test split, in whole groups.

    The test split is a fold: the nearest of 1/2, 1/3, 1/4, … of the clips.

    Without a test split, a corpus is cross-validated over all its training clips. Label refinement
    and pseudo-labels then leak, since they are computed from clips that are tested in some fold.

    Raises:
        ParamsError: the corpus has a test split, `fraction` is not in (0, 0.5], or there are too
            few groups.
    """
    if any(clip.split == "test" for clip in clips):
        raise ParamsError("--hold-out: this corpus has its own test split: omit the option")
    if not 0 < fraction <= 0.5:
        raise ParamsError(f"--hold-out {fraction:g}: expected a fraction above 0 and up to 0.5")
    train = np.array([i for i, clip in enumerate(clips) if clip.split == "train"], "int64")
    folds = _grouped_folds(clips, train, round(1 / fraction), seed, HOLD_OUT)
    test = set(folds[0][1].tolist())
    return [replace(clip, split="test") if i in test else clip for i, clip in enumerate(clips)]


def with_unlabelled(fold: Fold, clips: Sequence[Clip], weight: NDArray[np.float32]) -> Fold:
    """Add the unlabelled clips to a fold; those with a `weight` (clips,) above 0 are trained on.

    Clips whose group is in validation or test, of the fold or of the corpus, are left out: their
    speaker would be on both sides.
    """
    excluded = {clips[i].group for part in (fold.validation, fold.test) for i in part}
    excluded |= {clip.group for clip in clips if clip.split in ("val", "test")}
    usable = np.array(
        [
            i
            for i, clip in enumerate(clips)
            if clip.split == "unlabelled" and clip.group not in excluded
        ],
        "int64",
    )
    weighted = weight[usable] > 0
    return replace(
        fold, train=np.concatenate([fold.train, usable[weighted]]), unlabelled=usable[~weighted]
    )


def _inner_folds(
    clips: Sequence[Clip],
    outer_fold: int,
    train: Indices,
    validation: Indices,
    test: Indices,
    folds: int,
    seed: int,
) -> list[Fold]:
    if folds == 0:
        return [Fold(outer_fold, 0, train, EMPTY, test)]
    if folds == 1:
        if not len(validation):
            raise ParamsError(
                "train_fusion.folds is 1, but the corpus has no validation split: set 2 or more"
            )
        return [Fold(outer_fold, 0, train, validation, test)]
    return [
        Fold(outer_fold, fold, rest, held_out, test)
        for fold, (rest, held_out) in enumerate(
            _grouped_folds(clips, train, folds, seed, "train_fusion.folds")
        )
    ]


def _grouped_folds(
    clips: Sequence[Clip], pool: Indices, folds: int, seed: int, key: str
) -> list[tuple[Indices, Indices]]:
    """Divide `pool` into folds by group, stratified by label; return (rest, held out) per fold."""
    groups = [clips[i].group for i in pool]
    labels = [clips[i].label for i in pool]
    possible = min(len(set(groups)), max(Counter(labels).values(), default=0))
    if possible < folds:
        raise ParamsError(
            f"{key} is {folds}, but the {len(pool)} clips to divide belong to {len(set(groups))} "
            f"groups (speakers, dialogues or films), and the largest class has "
            f"{max(Counter(labels).values(), default=0)}: {_remedy(key, possible)}"
        )
    rows = np.zeros(len(pool))
    if len(set(groups)) == len(groups):  # the plain cut takes milliseconds, not seconds
        cuts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(rows, labels)
    else:
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        cuts = splitter.split(rows, labels, groups)
    with rare_classes_allowed():
        return [(pool[rest], pool[held_out]) for rest, held_out in cuts]


@contextmanager
def rare_classes_allowed() -> Iterator[None]:
    """Silence scikit-learn about classes of fewer clips than folds: `corpus_warnings` tells."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        yield


def _remedy(key: str, possible: int) -> str:
    if possible >= 2:
        return f"use --hold-out {1 / possible:.2f}" if key == HOLD_OUT else f"-S {key}={possible}"
    if key == "train_fusion.folds":
        return "-S train_fusion.folds=0 trains on all of them, for all epochs"
    return "add clips of other groups"
