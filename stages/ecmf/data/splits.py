"""Who trains, who validates and who is tested: grouped, so that no speaker stands on two sides."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from ecmf.data.manifest import Clip
from ecmf.errors import ParamsError

Indices = NDArray[np.int64]
"""Positions of clips in the manifest."""


@dataclass(frozen=True)
class Fold:
    """One training: `train` is learned from, `validation` stops it, `test` is not looked at.

    `round` counts the test folds, `fold` the validation folds inside one. `unlabelled` are clips
    without label that may be practised on: their groups are neither validated nor tested.
    """

    round: int
    fold: int
    train: Indices
    validation: Indices
    test: Indices
    unlabelled: Indices = field(default_factory=lambda: np.array([], "int64"))

    @property
    def name(self) -> str:
        """A name for files and tables."""
        return f"round{self.round}-fold{self.fold}"


def make_folds(clips: Sequence[Clip], folds: int, test_folds: int, seed: int) -> list[Fold]:
    """All trainings of one seed, the same for every model.

    A corpus with a test split has one round: its training split is cut into `folds` by group, each
    the validation of one training, and the corpus's own validation split stays untouched for
    choosing between experiments. With `folds` 1 the whole training split is learned from and the
    corpus's validation split stops the training, as is usual on MELD. With `folds` 0 nothing stops
    it: the whole training split is learned from for all the epochs.

    A corpus without test split is cut into `test_folds` by group; each is the test of one round,
    and the rest is treated as above.

    Raises:
        ParamsError: the corpus has fewer groups than folds, or no validation split for `folds` 1.
    """
    split = np.array([clip.split for clip in clips])
    test = np.flatnonzero(split == "test")
    if len(test):
        train, validation = np.flatnonzero(split == "train"), np.flatnonzero(split == "val")
        return _round(clips, 0, train, validation, test, folds, seed)
    pool = np.flatnonzero((split == "train") | (split == "val"))
    nobody = np.array([], dtype="int64")
    made: list[Fold] = []
    for number, (rest, held_out) in enumerate(
        _grouped(clips, pool, test_folds, seed, "train_fusion.test_folds")
    ):
        made += _round(clips, number, rest, nobody, held_out, folds, seed)
    return made


def hold_out(clips: Sequence[Clip], share: float, seed: int) -> list[Clip]:
    """Make a test split of about a `share` of the training clips, never through a group.

    It is a fold: a half, a third, a fourth, … of the clips, whichever is nearest.

    A corpus that has none is else tested in folds over all its training clips, which leaves no clip
    that models could vote on, or unlabelled ones be pseudo-labelled for, without telling what is to
    be tested.

    Raises:
        ParamsError: the corpus has a test split, `share` is not within 0 to 0.5, or there are too
            few groups for it.
    """
    if any(clip.split == "test" for clip in clips):
        raise ParamsError("--hold-out: this corpus has a test split of its own: leave it out")
    if not 0 < share <= 0.5:
        raise ParamsError(f"--hold-out {share:g}: give a share above 0 and up to 0.5")
    train = np.array([i for i, clip in enumerate(clips) if clip.split == "train"], "int64")
    held = set(
        _grouped(clips, train, round(1 / share), seed, "the inverse of --hold-out")[0][1].tolist()
    )
    return [replace(clip, split="test") if i in held else clip for i, clip in enumerate(clips)]


def with_unlabelled(fold: Fold, clips: Sequence[Clip], weight: NDArray[np.float32]) -> Fold:
    """Give the fold the unlabelled clips: it learns from those of a `weight` (clips,) above 0.

    One whose group is validated or tested, here or by the corpus's own splits, is left out: its
    speaker would stand on two sides.
    """
    apart = {clips[i].group for part in (fold.validation, fold.test) for i in part}
    apart |= {clip.group for clip in clips if clip.split in ("val", "test")}
    others = np.array(
        [
            i
            for i, clip in enumerate(clips)
            if clip.split == "unlabelled" and clip.group not in apart
        ],
        "int64",
    )
    added = weight[others] > 0
    return replace(
        fold, train=np.concatenate([fold.train, others[added]]), unlabelled=others[~added]
    )


def _round(
    clips: Sequence[Clip],
    number: int,
    train: Indices,
    validation: Indices,
    test: Indices,
    folds: int,
    seed: int,
) -> list[Fold]:
    if folds == 0:
        nobody = np.array([], "int64")
        return [Fold(number, 0, train, nobody, test)]
    if folds == 1:
        if not len(validation):
            raise ParamsError(
                "train_fusion.folds is 1, but the corpus has no validation split: set 2 or more"
            )
        return [Fold(number, 0, train, validation, test)]
    return [
        Fold(number, fold, rest, held_out, test)
        for fold, (rest, held_out) in enumerate(
            _grouped(clips, train, folds, seed, "train_fusion.folds")
        )
    ]


def _grouped(
    clips: Sequence[Clip], among: Indices, folds: int, seed: int, key: str
) -> list[tuple[Indices, Indices]]:
    """Cut `among` into folds with about equal shares of the given labels, never through a group."""
    groups = [clips[i].group for i in among]
    if len(set(groups)) < folds:
        raise ParamsError(
            f"{key} is {folds}, but the clips come from {len(set(groups))} groups "
            "(speakers, dialogues or films): lower it"
        )
    labels = [clips[i].label for i in among]
    if max(Counter(labels).values()) < folds:
        raise ParamsError(f"{key} is {folds}, but no class has as many clips to cut: lower it")
    cut = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    return [
        (among[rest], among[held_out])
        for rest, held_out in cut.split(np.zeros(len(among)), labels, groups)
    ]
