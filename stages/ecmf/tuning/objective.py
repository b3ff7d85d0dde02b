"""Clips without their test labels, and the parameters of `train_fusion` -> the WAF of a training.

No label of a test clip is ever at hand: `blind` takes them away first, and where a corpus has no
test split it sets the first test fold apart as one. A training's score is what `train_fusion` would
report of it: the validation WAF of its best epoch.

Each finished training waits in the cache under the hash of everything that made it. That is all the
memory a sweep has: a killed one is drawn again from its seed and finds its trainings done.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from ecmf.data.manifest import Clip
from ecmf.data.splits import Fold, Indices, make_folds, with_unlabelled
from ecmf.errors import ParamsError
from ecmf.execution import device, result_cache
from ecmf.metrics import weighted_f1
from ecmf.params import TrainFusion
from ecmf.storage.files import write_text
from ecmf.training.cross_validation import inputs_hash, read_sources, training_hash
from ecmf.training.dataset import Dataset
from ecmf.training.model import build
from ecmf.training.targets import Targets
from ecmf.training.trainer import fit, predict
from ecmf.tuning.dotted_params import Values, changed


class Waf(NamedTuple):
    """Of one training, or the mean of several: on its validation fold, and on the `val` split.

    The `val` split takes part in no training of the search; None where there is none left.
    """

    validation: float
    untouched: float | None


def blind(
    clips: Sequence[Clip], targets: Targets, params: TrainFusion, seed: int
) -> tuple[list[Clip], Targets]:
    """Take away every label of the test split; without one, of the first test fold of `seed`.

    The clips then have a test split, and their training split is that of the first round.
    """
    held = np.array([clip.split == "test" for clip in clips])
    if not held.any():
        held[make_folds(clips, params.folds, params.test_folds, seed)[0].test] = True
        clips = [replace(clip, split="train") if clip.split == "val" else clip for clip in clips]
    blinded = [
        replace(clip, split="test", label="", valence="", annotators={}) if apart else clip
        for clip, apart in zip(clips, held, strict=True)
    ]
    return blinded, Targets(
        np.where(held[:, None], np.float32(0), targets.soft),
        np.where(held, np.float32(0), targets.weight),
        np.where(held, np.float32(np.nan), targets.of_valence()),
    )


class Ground:
    """What all trials of a sweep stand on: the clips, their labels, the features, read once."""

    def __init__(
        self, paths: dict[str, Path], clips: Sequence[Clip], targets: Targets, params: TrainFusion
    ) -> None:
        """Read the features; `clips` and `targets` are blind."""
        if params.folds < 1:
            raise ParamsError(
                f"train_fusion.folds is {params.folds}: a sweep needs validation folds; set 2 or "
                "more, or 1 where the corpus has a validation split"
            )
        self.clips, self.targets, self.params = clips, targets, params
        where = torch.device(device.requested())
        self.dataset = Dataset(read_sources(paths, clips, params), where)
        self.inputs = inputs_hash(paths, clips, targets)
        self.folder = result_cache.folder() / "train_fusion" / self.inputs
        judged = [
            i
            for i, clip in enumerate(clips)
            if clip.split == "val" and params.folds > 1 and targets.weight[i] > 0
        ]
        self._untouched: Indices = np.array(judged, "int64")

    def folds(self, seed: int) -> list[Fold]:
        """Return the trainings of one seed; with a test split there is one round."""
        params = self.params
        return make_folds(self.clips, params.folds, params.test_folds, seed)

    def train(self, params: TrainFusion, fold: Fold, seed: int) -> Waf:
        """Train, or take what an ended sweep has left."""
        key = training_hash(self.inputs, params)
        name = result_cache.hashed(key, seed, fold.name)[:32]
        path = self.folder / f"{name}.json"
        if path.is_file():
            return Waf(*json.loads(path.read_text(encoding="utf-8")))
        learned = with_unlabelled(fold, self.clips, self.targets.weight)
        fitted = fit(self.dataset, self.targets, learned, seed, params)
        untouched = None
        if len(self._untouched):
            said = predict(fitted.model, self.dataset, self._untouched).probabilities
            truth = self.targets.soft[self._untouched].argmax(axis=1)
            untouched = weighted_f1(truth, said.argmax(axis=1))
        judged = [one.validation_waf for one in fitted.history if one.validation_waf is not None]
        waf = Waf(max(judged), untouched)
        write_text(path, json.dumps(waf))
        return waf

    def train_all(self, params: TrainFusion, seed: int) -> Waf:
        """Mean over the folds of a seed."""
        wafs = [self.train(params, fold, seed) for fold in self.folds(seed)]
        untouched = [waf.untouched for waf in wafs if waf.untouched is not None]
        return Waf(fmean(waf.validation for waf in wafs), fmean(untouched) if untouched else None)

    def refusal(self, params: TrainFusion) -> str:
        """Why the member cannot be built with these parameters, or nothing."""
        options = params.options.get(params.model, {})
        try:
            build(params.model, options, self.dataset.shapes, self.targets.soft.shape[1], seed=0)
        except (ParamsError, ValueError) as error:
            return str(error)
        return ""


def again(ground: Ground, values: Values, seeds: Sequence[int]) -> tuple[list[Waf], list[Waf]]:
    """Train the parameters as they are and with the values of the best, on the same fresh seeds.

    The folds of each seed are other ones, and the same for both: what they differ in is paired.
    """
    both = (ground.params, changed(ground.params, values))
    kept: tuple[list[Waf], list[Waf]] = ([], [])
    with tqdm(total=2 * len(seeds), desc="fresh seeds", unit="seed", disable=None) as progress:
        for seed in seeds:
            for params, wafs in zip(both, kept, strict=True):
                wafs.append(ground.train_all(params, seed))
                progress.update()
    return kept
