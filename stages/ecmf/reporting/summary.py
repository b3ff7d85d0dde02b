"""Summarise a run for the first screen: what was scored, the score, baselines and a conclusion."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ecmf.metrics import FEW_GROUPS, INTERVAL, SCORE_NAMES, bootstrap_waf, weighted_f1
from ecmf.reporting.results import Results
from ecmf.training.model_metadata import ModelMetadata

RESAMPLES, SEED = 1000, 0
"""Draws of the groups for the interval of a baseline, and their seed."""


@dataclass(frozen=True)
class Line:
    """A score between 0 and 1, with the bounds of its 95 % interval if it has one."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Summary:
    """The content of the first screen.

    Attributes:
        facts: What was evaluated, as pairs of a name and a value.
        score_name: Name of the score.
        score: The score of the run.
        seeds: The score of each seed.
        baselines: Scores to compare it with.
        unavailable: The baselines that the evaluation does not have, and how to get them.
        conclusion: What is certain.
        caution: Why the interval may be too narrow; empty if it is not known to be.
    """

    facts: Sequence[tuple[str, str]]
    score_name: str
    score: Line
    seeds: Mapping[str, float]
    baselines: Sequence[Line]
    unavailable: Sequence[str]
    conclusion: str
    caution: str


def summarise(
    corpus: str,
    results: Results,
    metadata: ModelMetadata,
    evaluation: Mapping[str, Any],
    details: Mapping[str, Any],
) -> Summary:
    """Summarise the reports of `evaluate_fusion`; the first score is the one to compare by."""
    test = evaluation["test"]
    main = next(iter(test))
    name = SCORE_NAMES.get(main, main)
    model = " + ".join(metadata.training.members)
    score = Line(model, test[main], test[f"{main}_low"], test[f"{main}_high"])
    majority, margin = _majority(results)
    members = {each: scores[main] for each, scores in details.get("members", {}).items()}
    baselines = [majority, *(Line(f"{each} alone", value) for each, value in members.items())]
    unavailable = ["the best single source"]
    if "late" not in members and model != "late":
        unavailable.append("late fusion (train_fusion.ensemble=[late] trains it beside)")
    groups = details["test"]["groups"]
    return Summary(
        _facts(corpus, results, metadata, details["protocol"], test["clips"], groups),
        name,
        score,
        details["test"].get(f"{main}_by_seed", {}),
        baselines,
        unavailable,
        _conclusion(name, score, majority, margin, groups),
        _caution(groups),
    )


def _facts(
    corpus: str,
    results: Results,
    metadata: ModelMetadata,
    protocol: str,
    clips: int,
    groups: int,
) -> list[tuple[str, str]]:
    speakers = {clip.speaker for clip in results.clips if clip.speaker}
    tested = {results.clips[i].speaker for i in results.test} - {""}
    return [
        ("corpus", corpus),
        ("task", metadata.training.task.replace("_", " ")),
        ("classes", str(len(results.classes))),
        ("clips", f"{len(results.clips):,}"),
        ("speakers", f"{len(speakers):,}" if speakers else "unknown"),
        ("tested on", f"{clips:,} clips ({protocol})"),
        ("of", f"{len(tested):,} speakers" if tested else f"{groups:,} groups"),
        ("trained", _trainings(metadata)),
    ]


def _trainings(metadata: ModelMetadata) -> str:
    seeds, folds = len(metadata.training.seeds), metadata.training.folds
    text = f"{seeds} seed" if seeds == 1 else f"{seeds} seeds"
    return f"{text} × {folds} folds" if folds > 1 else text


def _majority(results: Results) -> tuple[Line, tuple[float, float]]:
    """Score the most frequent class of the training labels, and bound the model's lead over it.

    The lead has the 95 % interval of a paired bootstrap: both are scored on the same draws of the
    groups.
    """
    counts = Counter(clip.label for clip in results.clips if clip.label and clip.split == "train")
    counts = counts or Counter(results.classes[i] for i in results.truth)
    label = min(counts, key=lambda name: (-counts[name], results.classes.index(name)))
    truth, predicted = results.truth, results.predicted[results.test]
    constant = np.full_like(truth, results.classes.index(label))
    drawn = [
        bootstrap_waf(truth, each, results.groups, len(results.classes), RESAMPLES, SEED)
        for each in (constant, predicted)
    ]
    low, high = map(float, np.percentile(drawn[0], INTERVAL))
    lead_low, lead_high = map(float, np.percentile(drawn[1] - drawn[0], INTERVAL))
    line = Line(f"always answering “{label}”", weighted_f1(truth, constant), low, high)
    return line, (lead_low, lead_high)


def _conclusion(
    name: str, score: Line, majority: Line, lead: tuple[float, float], groups: int
) -> str:
    """Say in one sentence what the evaluation shows at the 95 % level."""
    if groups < 2:
        return (
            f"All test clips are of one group, so nothing is certain beyond them: their {name} is "
            f"{score.value:.3f}."
        )
    interval = (
        f"its {name} is {score.value:.3f}, and with the test groups drawn anew it lies between "
        f"{score.low:.3f} and {score.high:.3f} in 95 % of draws"
    )
    certain = "certain" if lead[0] > 0 else "not certain"
    return f"It is {certain} at the 95 % level that the model beats {majority.name}: {interval}."


def _caution(groups: int) -> str:
    if groups >= FEW_GROUPS:
        return ""
    return (
        f"The interval is drawn over {groups} groups; with fewer than {FEW_GROUPS} it is a rough "
        "guide and mostly too narrow."
    )
