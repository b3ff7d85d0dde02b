"""Ways to refine labels, on labels that were made wrong -> what training regains, in one table.

Every split holds out speakers, whose labels stay true. On the others labels are made wrong; each
variant refines them and a fusion is trained on what it decides, all on the same splits, wrong
labels and seeds. A rival learns from the true labels, another from the wrong ones as they are.
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
from support.comparison import Confusions, drawn_scores, seed_scores
from tqdm import tqdm

from ecmf.data.enriched_text import read_texts
from ecmf.data.manifest import Clip
from ecmf.data.splits import make_folds, with_unlabelled
from ecmf.execution import process_pool
from ecmf.execution.device import requested
from ecmf.metrics import INTERVAL
from ecmf.params import RefineLabels, TrainFusion
from ecmf.refinement.label_refinement import Refinement
from ecmf.training.cross_validation import read_sources
from ecmf.training.dataset import Dataset
from ecmf.training.targets import Targets
from ecmf.training.trainer import fit, predict

log = logging.getLogger(__name__)

CLEAN, NOISY = "true labels", "wrong labels kept"


@dataclass(frozen=True)
class Variant:
    """A line of the table: how labels are refined; `true_labels` looks at labels nobody has."""

    name: str
    refinement: Mapping[str, Any]
    true_labels: bool = False


@dataclass(frozen=True)
class Split:
    """Who is tested, and what the others are labelled as; `repeat` counts the groupings."""

    repeat: int
    test: frozenset[str]
    labels: Mapping[str, str]


@dataclass
class Outcome:
    """What a variant came to on one split: test confusions (groups, classes, classes), decisions.

    `changed`, `rightly` (of these the given label was wrong), `mended` (and the new one is true)
    and `wrong` count training clips; `added` and `added_rightly` are pseudo-labels, if known.
    """

    confusions: NDArray[np.int64]
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A split in, the outcome of every variant out. `clips` hold the true labels."""

    clips: Sequence[Clip]
    classes: Sequence[str]
    features: Mapping[str, Path]
    texts: Path
    training: TrainFusion
    variants: Sequence[Variant]
    truth: Mapping[str, str]
    """True classes, also of unlabelled clips where they are known: for counting alone."""

    trainings: int | None = None
    """How many of the validation folds are trained on; all where nothing is said."""

    @cached_property
    def groups(self) -> list[str]:
        """Speakers with labels."""
        return sorted({clip.group for clip in self.clips if clip.label})

    @cached_property
    def dataset(self) -> Dataset:
        """The features, read once per process."""
        import torch

        sources = read_sources(dict(self.features), self.clips, self.training)
        return Dataset(sources, torch.device(requested()))

    def __call__(self, split: Split) -> dict[str, Outcome]:
        """Refine and train, variant by variant; what models vote is worked out once."""
        os.environ["ECMF_WORKERS"] = "1"  # the splits run beside each other
        return {variant.name: self._outcome(variant, split) for variant in self.variants}

    def _outcome(self, variant: Variant, split: Split) -> Outcome:
        clips = [self._clip(clip, split, variant) for clip in self.clips]
        params = RefineLabels.model_validate(variant.refinement)
        refined = Refinement(clips, self.classes, read_texts(self.texts), self.features, params)()
        targets = Targets(
            np.array([label.soft for label in refined.labels], "float32"),
            np.array([label.weight for label in refined.labels], "float32"),
        )
        test = np.array([i for i, clip in enumerate(clips) if clip.split == "test"])
        said = np.zeros((len(test), len(self.classes)))
        for seed in self.training.seeds:
            for fold in make_folds(clips, self.training.folds, 2, seed)[: self.trainings]:
                learn = with_unlabelled(fold, clips, targets.weight)
                fitted = fit(self.dataset, targets, learn, seed, self.training)
                said += predict(fitted.model, self.dataset, test).probabilities
        confusions = np.zeros((len(self.groups), *[len(self.classes)] * 2), "int64")
        for i, shares in zip(test, said, strict=True):
            truth = self.classes.index(clips[i].label)
            confusions[self.groups.index(clips[i].group), truth, shares.argmax()] += 1
        counts = dict.fromkeys(
            ("changed", "rightly", "mended", "wrong", "added", "added_rightly"), 0
        )
        for clip, label in zip(clips, refined.labels, strict=True):
            truth_of = self.truth.get(clip.clip_id, "")
            if clip.split == "train":
                wrong, changed = clip.label != truth_of, label.decision != "kept"
                counts["wrong"] += wrong
                counts["changed"] += changed
                counts["rightly"] += changed and wrong
                counts["mended"] += changed and wrong and label.label == truth_of
            elif label.decision == "added":
                counts["added"] += 1
                counts["added_rightly"] += label.label == truth_of
        return Outcome(confusions, counts)

    def _clip(self, clip: Clip, split: Split, variant: Variant) -> Clip:
        if not clip.label:
            return clip
        if clip.group in split.test:
            return replace(clip, split="test", annotators={})
        label = clip.label if variant.true_labels else split.labels[clip.clip_id]
        return replace(clip, split="train", label=label)


def uniform(label: str, classes: Sequence[str], chance: np.random.Generator) -> str:
    """Any other class."""
    return str(chance.choice([name for name in classes if name != label]))


def spoiled(
    clips: Sequence[Clip], share: float, chance: np.random.Generator, other: Any
) -> dict[str, str]:
    """Clip id -> its label, exactly a `share` of them wrong as `other(label, chance)` says."""
    labelled = [clip for clip in clips if clip.label]
    wrong = set(chance.permutation(len(labelled))[: round(share * len(labelled))].tolist())
    return {
        clip.clip_id: other(clip.label, chance) if number in wrong else clip.label
        for number, clip in enumerate(labelled)
    }


def splits(
    clips: Sequence[Clip], repeats: int, folds: int, share: float, other: Any
) -> list[Split]:
    """Cut the speakers `repeats` times into `folds`; every repeat has wrong labels of its own."""
    labelled = [clip for clip in clips if clip.label]
    made = []
    for repeat in range(repeats):
        labels = spoiled(clips, share, np.random.default_rng([repeat, 1]), other)
        cut = StratifiedGroupKFold(folds, shuffle=True, random_state=repeat)
        groups = [clip.group for clip in labelled]
        for _, test in cut.split(groups, [clip.label for clip in labelled], groups):
            made.append(Split(repeat, frozenset(groups[i] for i in test), labels))
    return made


def run(study: Study, chosen: Sequence[Split]) -> tuple[dict[str, Confusions], dict[str, Any]]:
    """Run every split; returns per variant the confusions (repeats, groups, ...) and the counts."""
    repeats = 1 + max(split.repeat for split in chosen)
    shape = (repeats, len(study.groups), *[len(study.classes)] * 2)
    confusions = {variant.name: np.zeros(shape, "int64") for variant in study.variants}
    counts: dict[str, Any] = {variant.name: {} for variant in study.variants}
    results = process_pool.run(study, chosen, workers=process_pool.count())
    for split, outcomes in zip(
        chosen, tqdm(results, total=len(chosen), unit="split", file=sys.stderr), strict=True
    ):
        if isinstance(outcomes, process_pool.Failure):
            raise RuntimeError(outcomes.reason)
        for name, outcome in outcomes.items():
            confusions[name][split.repeat] += outcome.confusions
            for what, count in outcome.counts.items():
                counts[name][what] = counts[name].get(what, 0) + count
    return confusions, counts


def regained(results: Mapping[str, Confusions], name: str) -> NDArray[np.float64]:
    """Share of the WAF lost to wrong labels that a variant regains, per draw of the speakers."""
    clean, noisy = (drawn_scores(results[one]) for one in (CLEAN, NOISY))
    return (drawn_scores(results[name]) - noisy) / np.maximum(clean - noisy, 1e-9)


def share_regained(results: Mapping[str, Confusions], name: str) -> float:
    """Share of the lost WAF that a variant regains, of the means over all repeats."""
    clean, noisy, own = (seed_scores(results[one]).mean() for one in (CLEAN, NOISY, name))
    return float((own - noisy) / (clean - noisy))


def table(
    results: Mapping[str, Confusions], counts: Mapping[str, Mapping[str, int]], rival: str
) -> str:
    """Markdown: a line per variant."""
    lines = [
        f"| | WAF | 95 % interval | against {rival} | 95 % interval | regained | precision "
        "| recall | mended | added (right) |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    against = drawn_scores(results[rival])
    for name, counted in results.items():
        drawn = drawn_scores(counted)
        low, high = np.percentile(drawn, INTERVAL)
        gain = seed_scores(counted).mean() - seed_scores(results[rival]).mean()
        lower, upper = np.percentile(drawn - against, INTERVAL)
        back = f"{share_regained(results, name):.0%}" if {CLEAN, NOISY} <= set(results) else ""
        did = counts[name]
        precision = f"{did['rightly'] / did['changed']:.2f}" if did["changed"] else ""
        recall = f"{did['rightly'] / did['wrong']:.2f}" if did["changed"] and did["wrong"] else ""
        mended = f"{did['mended'] / did['wrong']:.2f}" if did["changed"] and did["wrong"] else ""
        added = f"{did['added']} ({did['added_rightly']})" if did["added"] else ""
        compared = "| " if name == rival else f"{gain:+.3f} | {lower:+.3f} to {upper:+.3f}"
        lines.append(
            f"| {name} | {seed_scores(counted).mean():.3f} | {low:.3f} to {high:.3f} | {compared} "
            f"| {back} | {precision} | {recall} | {mended} | {added} |"
        )
    return "\n".join(lines)
