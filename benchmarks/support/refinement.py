"""Compare ways to refine noisy labels by the WAF that training on them regains, in a table.

Every split holds out speakers, whose labels stay true. The labels of the others get noise; each
variant refines them, and a fusion is trained on the refined labels, all with the same splits, noise
and seeds. One reference trains on the true labels, another on the noisy ones.
"""

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold
from support.comparison import Confusions, bootstrap_scores, seed_scores
from tqdm import tqdm

from ecmf.data.enriched_text import read_texts
from ecmf.data.manifest import Clip
from ecmf.data.splits import make_folds, with_unlabelled
from ecmf.execution import process_pool
from ecmf.execution.device import requested
from ecmf.metrics import INTERVAL
from ecmf.params import RefineLabels, TrainFusion
from ecmf.refinement.label_refinement import LabelRefinement
from ecmf.training.dataset import Dataset
from ecmf.training.prediction import predict
from ecmf.training.source_reading import read_sources
from ecmf.training.targets import class_targets
from ecmf.training.trainer import fit

log = logging.getLogger(__name__)

CLEAN, NOISY = "true labels", "noisy labels"


@dataclass(frozen=True)
class Variant:
    """A line of the table: parameters of a refinement, of noisy or (`true_labels`) true labels."""

    name: str
    refinement: Mapping[str, Any]
    true_labels: bool = False


@dataclass(frozen=True)
class Split:
    """Speakers to test, and the labels of the others; `repeat` is the index of the grouping."""

    repeat: int
    test: frozenset[str]
    labels: Mapping[str, str]


@dataclass
class Outcome:
    """Result of a variant on one split: test confusions (groups, classes, classes) and counts.

    `changed`, `rightly_changed` (the given label was wrong), `corrected` (and the new one is true)
    and `wrong` count training clips; `added` and `rightly_added` count pseudo-labels.
    """

    confusions: NDArray[np.int64]
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """Compute the outcome of every variant on a split. `clips` have the true labels."""

    clips: Sequence[Clip]
    classes: Sequence[str]
    features: Mapping[str, Path]
    texts: Path
    training: TrainFusion
    variants: Sequence[Variant]
    truth: Mapping[str, str]
    """True classes, also of unlabelled clips if known; used for counting only."""

    trainings: int | None = None
    """Number of validation folds to train on; None for all."""

    @cached_property
    def groups(self) -> list[str]:
        """Return the speakers with labels."""
        return sorted({clip.group for clip in self.clips if clip.label})

    @cached_property
    def dataset(self) -> Dataset:
        """Return the features, read once per process."""
        import torch

        sources = read_sources(dict(self.features), self.clips, self.training)
        return Dataset(sources, torch.device(requested()))

    def __call__(self, split: Split) -> dict[str, Outcome]:
        """Refine and train, variant by variant."""
        os.environ["ECMF_WORKERS"] = "1"  # the splits run in parallel
        return {variant.name: self._outcome(variant, split) for variant in self.variants}

    def _outcome(self, variant: Variant, split: Split) -> Outcome:
        clips = [self._clip(clip, split, variant) for clip in self.clips]
        params = RefineLabels.model_validate(variant.refinement)
        refined = LabelRefinement(
            clips, self.classes, read_texts(self.texts), self.features, params
        )()
        targets = class_targets(
            np.array([label.soft for label in refined.labels], "float32"),
            np.array([label.weight for label in refined.labels], "float32"),
        )
        test = np.array([i for i, clip in enumerate(clips) if clip.split == "test"])
        probs = np.zeros((len(test), len(self.classes)))
        for seed in self.training.seeds:
            for fold in make_folds(clips, self.training.folds, 2, seed)[: self.trainings]:
                fold = with_unlabelled(fold, clips, targets.weight)
                fitted = fit(self.dataset, targets, fold, seed, self.training)
                probs += predict(fitted.model, self.dataset, test).outputs
        confusions = np.zeros((len(self.groups), *[len(self.classes)] * 2), "int64")
        for i, clip_probs in zip(test, probs, strict=True):
            truth = self.classes.index(clips[i].label)
            confusions[self.groups.index(clips[i].group), truth, clip_probs.argmax()] += 1
        counts = dict.fromkeys(
            ("changed", "rightly_changed", "corrected", "wrong", "added", "rightly_added"), 0
        )
        for clip, label in zip(clips, refined.labels, strict=True):
            truth_of = self.truth.get(clip.clip_id, "")
            if clip.split == "train":
                wrong, changed = clip.label != truth_of, label.decision != "kept"
                counts["wrong"] += wrong
                counts["changed"] += changed
                counts["rightly_changed"] += changed and wrong
                counts["corrected"] += changed and wrong and label.label == truth_of
            elif label.decision == "added":
                counts["added"] += 1
                counts["rightly_added"] += label.label == truth_of
        return Outcome(confusions, counts)

    def _clip(self, clip: Clip, split: Split, variant: Variant) -> Clip:
        if not clip.label:
            return clip
        if clip.group in split.test:
            return replace(clip, split="test", annotators={})
        label = clip.label if variant.true_labels else split.labels[clip.clip_id]
        return replace(clip, split="train", label=label)


def draw_other_class(label: str, classes: Sequence[str], rng: np.random.Generator) -> str:
    """Draw any other class."""
    return str(rng.choice([name for name in classes if name != label]))


def add_label_noise(
    clips: Sequence[Clip], fraction: float, rng: np.random.Generator, other: Any
) -> dict[str, str]:
    """Return labels by clip id, with `other(label, rng)` for exactly a `fraction` of them."""
    labelled = [clip for clip in clips if clip.label]
    wrong = set(rng.permutation(len(labelled))[: round(fraction * len(labelled))].tolist())
    return {
        clip.clip_id: other(clip.label, rng) if number in wrong else clip.label
        for number, clip in enumerate(labelled)
    }


def make_splits(
    clips: Sequence[Clip], repeats: int, folds: int, fraction: float, other: Any
) -> list[Split]:
    """Split the speakers `repeats` times into `folds`, each time with other label noise."""
    labelled = [clip for clip in clips if clip.label]
    splits = []
    for repeat in range(repeats):
        labels = add_label_noise(clips, fraction, np.random.default_rng([repeat, 1]), other)
        cut = StratifiedGroupKFold(folds, shuffle=True, random_state=repeat)
        groups = [clip.group for clip in labelled]
        for _, test in cut.split(groups, [clip.label for clip in labelled], groups):
            splits.append(Split(repeat, frozenset(groups[i] for i in test), labels))
    return splits


def run(study: Study, splits: Sequence[Split]) -> tuple[dict[str, Confusions], dict[str, Any]]:
    """Run every split; return per variant the confusions (repeats, groups, ...) and the counts."""
    repeats = 1 + max(split.repeat for split in splits)
    shape = (repeats, len(study.groups), *[len(study.classes)] * 2)
    confusions = {variant.name: np.zeros(shape, "int64") for variant in study.variants}
    counts: dict[str, Any] = {variant.name: {} for variant in study.variants}
    results = process_pool.run(study, splits, workers=process_pool.worker_count())
    for split, outcomes in zip(
        splits, tqdm(results, total=len(splits), unit="split", file=sys.stderr), strict=True
    ):
        if isinstance(outcomes, process_pool.Failure):
            raise RuntimeError(outcomes.reason)
        for name, outcome in outcomes.items():
            confusions[name][split.repeat] += outcome.confusions
            for key, count in outcome.counts.items():
                counts[name][key] = counts[name].get(key, 0) + count
    return confusions, counts


def bootstrap_regained(results: Mapping[str, Confusions], name: str) -> NDArray[np.float64]:
    """Compute the fraction of the lost WAF that a variant regains, per draw of the speakers."""
    clean, noisy = (bootstrap_scores(results[key]) for key in (CLEAN, NOISY))
    return (bootstrap_scores(results[name]) - noisy) / np.maximum(clean - noisy, 1e-9)


def fraction_regained(results: Mapping[str, Confusions], name: str) -> float:
    """Compute the fraction of the lost WAF that a variant regains, over all repeats."""
    clean, noisy, own = (seed_scores(results[key]).mean() for key in (CLEAN, NOISY, name))
    return float((own - noisy) / (clean - noisy))


def table(
    results: Mapping[str, Confusions], counts: Mapping[str, Mapping[str, int]], reference: str
) -> str:
    """Write Markdown: a line per variant."""
    lines = [
        f"| | WAF | 95 % interval | against {reference} | 95 % interval | regained | precision "
        "| recall | corrected | added (right) |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    reference_scores = bootstrap_scores(results[reference])
    for name, cells in results.items():
        scores = bootstrap_scores(cells)
        low, high = np.percentile(scores, INTERVAL)
        gain = seed_scores(cells).mean() - seed_scores(results[reference]).mean()
        lower, upper = np.percentile(scores - reference_scores, INTERVAL)
        regained = (
            f"{fraction_regained(results, name):.0%}" if {CLEAN, NOISY} <= set(results) else ""
        )
        n = counts[name]
        rightly, both = n["rightly_changed"], n["changed"] and n["wrong"]
        precision = f"{rightly / n['changed']:.2f}" if n["changed"] else ""
        recall = f"{rightly / n['wrong']:.2f}" if both else ""
        corrected = f"{n['corrected'] / n['wrong']:.2f}" if both else ""
        added = f"{n['added']} ({n['rightly_added']})" if n["added"] else ""
        compared = "| " if name == reference else f"{gain:+.3f} | {lower:+.3f} to {upper:+.3f}"
        lines.append(
            f"| {name} | {seed_scores(cells).mean():.3f} | {low:.3f} to {high:.3f} | {compared} "
            f"| {regained} | {precision} | {recall} | {corrected} | {added} |"
        )
    return "\n".join(lines)
