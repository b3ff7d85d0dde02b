"""Summarise a run for the first screen: what was scored, the score, baselines and a conclusion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ecmf.metrics import FEW_GROUPS, SCORE_NAMES
from ecmf.reporting.results import Results
from ecmf.training.model_metadata import ModelMetadata


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
        conclusion: What is certain.
        caution: Why the interval may be too narrow; empty if it is not known to be.
    """

    facts: Sequence[tuple[str, str]]
    score_name: str
    score: Line
    seeds: Mapping[str, float]
    baselines: Sequence[Line]
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
    members = {each: scores[main] for each, scores in details.get("members", {}).items()}
    baselines = details["baselines"]
    lines = {kind: _baseline(kind, each, main) for kind, each in baselines.items()}
    alone = [Line(f"{each} alone", value) for each, value in members.items()]
    groups = details["test"]["groups"]
    return Summary(
        _facts(corpus, results, metadata, details["protocol"], test["clips"], groups),
        name,
        score,
        details["test"].get(f"{main}_by_seed", {}),
        [*lines.values(), *alone],
        _conclusion(name, score, lines, baselines, groups),
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


def _baseline(kind: str, scores: Mapping[str, Any], main: str) -> Line:
    """Name a baseline of `evaluate_fusion`, with its score."""
    names = {
        "majority": "the most frequent class",
        "source": f"the best single source ({scores.get('name')})",
        "product": "late fusion of linear classifiers",
    }
    bounds = scores[f"{main}_low"], scores[f"{main}_high"]
    return Line(names[kind], scores[main], *bounds)


def _conclusion(
    name: str,
    score: Line,
    lines: Mapping[str, Line],
    baselines: Mapping[str, Mapping[str, float]],
    groups: int,
) -> str:
    """Say in words what the evaluation shows at the 95 % level, baseline by baseline."""
    if groups < 2:
        return (
            f"All test clips are of one group, so nothing is certain beyond them: their {name} is "
            f"{score.value:.3f}."
        )
    interval = (
        f"Its {name} is {score.value:.3f}, and with the test groups drawn anew it lies between "
        f"{score.low:.3f} and {score.high:.3f} in 95 % of draws."
    )
    by_verdict: dict[str, list[str]] = {"beats": [], "is below": [], "": []}
    for kind, each in baselines.items():
        verdict = "beats" if each["lead_low"] > 0 else "is below" if each["lead_high"] < 0 else ""
        by_verdict[verdict].append(lines[kind].name)
    open_ = by_verdict.pop("")
    certain = [f"{verdict} {_list(names)}" for verdict, names in by_verdict.items() if names]
    sentences = []
    if certain:
        sentences.append(f"It is certain at the 95 % level that the model {' and '.join(certain)}.")
    if open_:
        sentences.append(f"It is not certain at the 95 % level whether it beats {_list(open_)}.")
    return " ".join([*sentences, interval])


def _list(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _caution(groups: int) -> str:
    if groups >= FEW_GROUPS:
        return ""
    return (
        f"The interval is drawn over {groups} groups; with fewer than {FEW_GROUPS} it is a rough "
        "guide and mostly too narrow."
    )
