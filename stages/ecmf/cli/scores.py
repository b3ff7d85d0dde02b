"""Print the scores of the last evaluation: `ecmf scores`."""

import json
from pathlib import Path
from typing import Any

import click

from ecmf.cli.command import Command
from ecmf.errors import MissingFileError
from ecmf.metrics import FEW_GROUPS, SCORE_NAMES
from ecmf.params import load_params
from ecmf.storage.files import sha256

EVALUATION = Path("metrics/evaluation.json")
DETAILS = Path("metrics/evaluation_details.json")
LABELS = Path("metrics/labels.json")
MANIFESTS = Path("data/manifests")

FEW_CLIPS = 50
"""Test clips below which a single clip moves the accuracy by more than 0.02."""

Report = dict[str, Any]


def table(evaluation: Report, details: Report) -> str:
    """Format the two reports of `evaluate_fusion`."""
    test = evaluation["test"]
    main = next(iter(test))
    others = [name for name, v in test.items() if isinstance(v, float) and not _bounds(name, test)]
    lines = [_row("", [heading(name) for name in others], "95 % interval", "clips")]
    for split in ("test", "val"):
        if split in evaluation:  # with folds: 0 no clip is held out for `val`
            scores = evaluation[split] | details[split]
            numbers = [f"{scores[name]:.3f}" for name in others]
            low, high = scores[f"{main}_low"], scores[f"{main}_high"]
            lines.append(_row(split, numbers, f"{low:.3f} to {high:.3f}", str(scores["clips"])))
    for name, by_class in test.items():
        if isinstance(by_class, dict):
            listed = ", ".join(f"{label} {value:.2f}" for label, value in by_class.items())
            lines.append(f"test {heading(name).upper()}: {listed}")
    seeds = " ".join(f"{score:.3f}" for score in details["test"][f"{main}_by_seed"].values())
    lines.append(f"test {heading(main)} by seed: {seeds} ({details['protocol']})")
    if members := details.get("members"):
        alone = ", ".join(f"{name} {scores[main]:.3f}" for name, scores in members.items())
        lines.append(f"test {heading(main)} of each member alone: {alone}")
    lines.append(about_groups(details["test"]["groups"], test["clips"]))
    lines += _doubts(test, details["corpus"])
    for member, left_out in details.get("left_out", {}).items():
        if left_out:
            shown = ", ".join(
                f"{name} (in {len(folds)} test folds)" if len(folds) > 1 else name
                for name, folds in left_out.items()
            )
            lines.append(f"{member} leaves out, for lack of weight on validation clips: {shown}")
    unproven = [name for name, v in details.get("sources", {}).items() if v["low"] <= 0]
    if unproven:
        lines.append(f"not shown to help on validation clips: {', '.join(unproven)}")
    known = {"groups"}
    if further := {
        k: v for k, v in details["test"].items() if not isinstance(v, dict) and k not in known
    }:
        shown = ", ".join(f"{name} {_number(value)}" for name, value in further.items())
        lines.append(f"test, further: {shown}")
    return "\n".join(lines)


def about_groups(groups: int, clips: int) -> str:
    """State the groups that the interval was drawn over, and what few of them mean."""
    if groups == clips:
        return f"the interval is drawn over {clips} clips, each a group of its own"
    text = f"the interval is drawn over {groups} groups (speakers, dialogues or films)"
    if groups < FEW_GROUPS:
        text += (
            f": with fewer than {FEW_GROUPS} it is only a rough guide, and mostly too narrow; "
            "test on more speakers"
        )
    return text


def _doubts(test: Report, corpus: Report) -> list[str]:
    """Say what the numbers alone do not show: classes never recognised, few clips, the corpus."""
    lines = []
    for name, f1 in test.get("f1", {}).items():
        if not f1 and (count := corpus["test_clips_by_class"].get(name)):
            lines.append(f"none of the {count} test clips of class {name!r} was recognised (F1 0)")
    if test["clips"] < FEW_CLIPS:
        lines.append(
            f"with {test['clips']} test clips, one more right or wrong changes the accuracy by "
            f"{1 / test['clips']:.3f}"
        )
    return [f"warning: {line}" for line in [*lines, *corpus["warnings"]]]


def _bounds(name: str, scores: Report) -> bool:
    """Return whether a score is a bound of the interval of another."""
    return name.removesuffix("_low").removesuffix("_high") in scores.keys() - {name}


def heading(name: str) -> str:
    """Return the heading of a score."""
    return SCORE_NAMES.get(name, name)


def _row(split: str, numbers: list[str], interval: str, clips: str) -> str:
    first, *rest = numbers
    return f"{split:5} {first:>6}  {interval:14} {' '.join(f'{n:>8}' for n in rest)}  {clips:>5}"


def _number(value: float | None) -> str:
    return (
        "unknown" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
    )


def decisions(audit: Report) -> str:
    """Summarise the report of `audit_labels` in one line."""
    counts = ", ".join(f"{count} {name}" for name, count in audit["decisions"].items())
    added = f", {audit['added']} unlabelled clips added" if audit["added"] else ""
    return f"training labels: {counts}{added}; why: metrics/report.html, data/labels.csv"


def scores(evaluation: Path, details: Path, labels: Path, manifest: Path) -> str:
    """Return the scores of the evaluation, and the decisions on training labels in `labels`.

    Raises:
        MissingFileError: a report is absent, or the scores are of another corpus than `manifest`.
    """
    reports = []
    for path in (evaluation, details, labels):
        if not path.is_file():
            raise MissingFileError(f"no {path}: run `dvc repro`")
        reports.append(json.loads(path.read_text(encoding="utf-8")))
    _check_corpus(reports[1].get("corpus"), manifest)
    return f"{table(*reports[:2])}\n{decisions(reports[2])}"


def _check_corpus(scored: Report | None, manifest: Path) -> None:
    """Refuse scores that do not belong to the corpus of `params.yaml`.

    After a run that failed, or another `corpus`, the files still have the scores of before.
    """
    if scored is None:
        raise MissingFileError(
            f"{DETAILS} names no corpus, it was written by another version: run `dvc repro`"
        )
    made = f"the scores were made of {scored['clips']} clips of the corpus {scored['name']!r}"
    if scored["name"] != manifest.stem:
        raise MissingFileError(
            f"{made}, and params.yaml has corpus {manifest.stem!r}: run `dvc repro`, which ends in "
            f"its scores, or set corpus back to {scored['name']!r}"
        )
    if manifest.is_file() and sha256(manifest) != scored["manifest_sha256"]:
        raise MissingFileError(f"{made}, and {manifest} has changed since then: run `dvc repro`")


@click.command("scores", cls=Command)
def command() -> str:
    """Show the scores of the last evaluation, if they belong to the corpus of params.yaml.

    \b
    Example:
      ecmf scores
    """  # noqa: D301
    return scores(EVALUATION, DETAILS, LABELS, MANIFESTS / f"{load_params().corpus}.csv")
