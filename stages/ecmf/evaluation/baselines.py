"""Score baselines on the test clips of the fusion: one class, one source, and late fusion.

Each source has a linear classifier (`training/source_classifier.py`), trained on the folds of the
first seed with the labels and the sources of the fusion; its classes are averaged over the folds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecmf.data.manifest import Clip
from ecmf.data.splits import Indices, with_unlabelled
from ecmf.evaluation.prediction import Predictor
from ecmf.metrics import INTERVAL, Labels, bootstrap_waf, weighted_f1
from ecmf.params import EvaluateFusion
from ecmf.probabilities import EPS
from ecmf.training.fold_runs import plan_runs
from ecmf.training.source_classifier import classify_by_source
from ecmf.training.task import Targets

Sums = NDArray[np.float64]
"""Class probabilities summed over the models that predict a clip."""


@dataclass(frozen=True)
class SourceDecisions:
    """Predictions of the classifiers, with a row of zeros where a clip lacks the source.

    Attributes:
        tested: Of the test clips of each fold, (clips, sources, classes).
        validated: Of its validation clips, (clips, sources, classes).
        shares: Shares of the classes in the training clips, for each test clip, (clips, classes).
    """

    tested: Sums
    validated: Sums
    shares: Sums

    @property
    def majority(self) -> Labels:
        """The most frequent class of the training clips, (clips,)."""
        return np.asarray(self.shares.argmax(axis=1))

    def of_source(self, source: int) -> Labels:
        """Decide by one source, and by `majority` without it, (clips,)."""
        probs = self.tested[:, source]
        return np.where(np.any(probs, axis=1), probs.argmax(axis=1), self.majority)

    @property
    def product(self) -> Labels:
        """Decide by the product of the sources that a clip has, and by `majority` without any."""
        present = np.any(self.tested, axis=2)
        logs = np.log(np.maximum(self.tested, EPS)).sum(axis=1, where=present[..., None])
        return np.where(np.any(present, axis=1), logs.argmax(axis=1), self.majority)

    def best_source(self, labels: Labels) -> int | None:
        """Return the source of the largest WAF on validation clips; None without such clips.

        Args:
            labels: Class of each clip, (clips,), -1 if unknown. A source counts on all clips: one
                that a clip lacks is wrong on it.
        """
        validated = np.flatnonzero(np.any(self.validated, axis=(1, 2)) & (labels >= 0))
        if not len(validated):
            return None
        own = self.validated[validated]
        decisions = np.where(own.any(axis=2), own.argmax(axis=2), -1)
        return int(np.argmax([weighted_f1(labels[validated], each) for each in decisions.T]))


def classify_sources(
    predictor: Predictor, clips: Sequence[Clip], targets: Targets, names: Sequence[str]
) -> SourceDecisions:
    """Train a classifier per source and fold, and predict the clips that it was not trained on."""
    sources = [source for source in predictor.sources if source.name in names]
    means = [source.clip_means() for source in sources]
    training = predictor.metadata.training
    classes = len(targets.task.outputs)
    tested = np.zeros((len(clips), len(sources), classes))
    validated, shares = np.zeros_like(tested), np.zeros((len(clips), classes))
    for run in plan_runs(clips, training):
        if run.seed != training.seeds[0]:
            continue
        fold = with_unlabelled(run.fold, clips, targets.weight)
        unseen = np.concatenate([fold.validation, fold.test])
        probs = [
            classify_by_source(mean, source.present, targets, fold.train, unseen)
            for mean, source in zip(means, sources, strict=True)
        ]
        both = np.stack(probs, axis=1)
        validated[fold.validation] += both[: len(fold.validation)]
        tested[fold.test] += both[len(fold.validation) :]
        weight = targets.weight[fold.train, None]
        shares[fold.test] += (targets.values["class_probs"][fold.train] * weight).sum(axis=0)
    return SourceDecisions(tested, validated, shares)


def score_baselines(
    predictor: Predictor,
    clips: Sequence[Clip],
    targets: Targets,
    tested: Indices,
    decided: Labels,
    params: EvaluateFusion,
) -> dict[str, dict[str, Any]]:
    """Return the WAF of each baseline, and the lead of the fusion over it, with 95 % intervals.

    `majority` is the most frequent class of the training labels. `source` is the classifier of one
    source, the best on validation clips; without any it is left out. `product` multiplies the
    probabilities of all classifiers; it is left out of a single source. Intervals are over groups,
    paired for the lead.

    Args:
        predictor: The trained models, which have predicted: their sources are known.
        clips: All clips of the corpus.
        targets: The training targets.
        tested: Positions of the test clips.
        decided: Class of each test clip by the fusion, (tested,).
        params: Number of resamples, and their seed.
    """
    names = [s.name for s in predictor.sources if s.name in predictor.input_sources]
    by_source = classify_sources(predictor, clips, targets, names)
    classes = list(targets.task.outputs)
    labels = np.array([classes.index(clip.label) if clip.label else -1 for clip in clips], "int64")
    decisions = {"majority": by_source.majority}
    best = by_source.best_source(labels)
    if best is not None:
        decisions["source"] = by_source.of_source(best)
    if len(names) > 1:
        decisions["product"] = by_source.product
    scores = compare_with(
        {kind: each[tested] for kind, each in decisions.items()},
        labels[tested],
        decided,
        [clips[i].group for i in tested],
        classes,
        params,
    )
    if best is not None:
        scores["source"]["name"] = names[best]
    return scores


def compare_with(
    baselines: Mapping[str, Labels],
    truth: Labels,
    decided: Labels,
    groups: Sequence[str],
    classes: Sequence[str],
    params: EvaluateFusion,
) -> dict[str, dict[str, Any]]:
    """Score the decisions of each baseline, and the lead of those of the fusion, (clips,) each."""

    def draw(decisions: Labels) -> NDArray[np.float64]:
        return bootstrap_waf(truth, decisions, groups, len(classes), params.bootstrap, params.seed)

    score, drawn = weighted_f1(truth, decided), draw(decided)
    scores: dict[str, dict[str, Any]] = {}
    for kind, decisions in baselines.items():
        waf, own = weighted_f1(truth, decisions), draw(decisions)
        bounds = _interval("waf", own) | _interval("lead", drawn - own)
        scores[kind] = {"waf": waf, "lead": score - waf, **bounds}
    return scores


def _interval(name: str, drawn: NDArray[np.float64]) -> dict[str, float]:
    low, high = np.percentile(drawn, INTERVAL)
    return {f"{name}_low": float(low), f"{name}_high": float(high)}
