"""Scores of the last evaluation -> a few lines for the eye: `python stages/show_scores.py`."""

import json
from pathlib import Path
from typing import Any

import click

from ecmf.cli.command import Command
from ecmf.errors import MissingFileError

EVALUATION = Path("metrics/evaluation.json")
LABELS = Path("metrics/labels.json")


def table(report: dict[str, Any]) -> str:
    """Lay out what `evaluate_fusion` wrote."""
    lines = [f"{'':5} {'WAF':>6}  95 % interval  {'accuracy':>8} {'UAR':>6} {'macro F1':>8}  clips"]
    for split in ("test", "val"):
        if split not in report:  # folds 0: no clip was held out
            continue
        of = report[split]
        lines.append(
            f"{split:5} {of['waf']:6.3f}  {of['waf_low']:.3f} to {of['waf_high']:.3f} "
            f"{of['accuracy']:8.3f} {of['uar']:6.3f} {of['macro_f1']:8.3f}  {of['clips']:5d}"
        )
    per_class = ", ".join(f"{name} {f1:.2f}" for name, f1 in report["test"]["f1"].items())
    seeds = " ".join(f"{waf:.3f}" for waf in report["test"]["waf_by_seed"].values())
    lines += [f"test F1: {per_class}", f"test WAF by seed: {seeds} ({report['protocol']})"]
    if members := report.get("members"):
        alone = ", ".join(f"{name} {of['waf']:.3f}" for name, of in members.items())
        lines.append(f"test WAF of each member alone: {alone}")
    if "valence_mse" in report["test"]:
        of = report["test"]
        lines.append(
            f"test valence: squared error {of['valence_mse']:.3f} on {of['valence_clips']} clips, "
            f"WAF - 0.25 of it {of['mer2023_combined']:.3f}"
        )
    return "\n".join(lines)


def decisions(audit: dict[str, Any]) -> str:
    """Say in a line what became of the training labels, of what `audit_labels` wrote."""
    done = ", ".join(f"{count} {name}" for name, count in audit["decisions"].items())
    added = f", {audit['added']} unlabelled clips added" if audit["added"] else ""
    return f"training labels: {done}{added}; why: metrics/doubts.html, data/labels.csv"


def scores(evaluation: Path, labels: Path) -> str:
    """Return the table of `evaluation`, and what `labels` records of the training labels."""
    for path in (evaluation, labels):
        if not path.is_file():
            raise MissingFileError(f"no {path}: `dvc repro` makes it")
    read = [json.loads(path.read_text(encoding="utf-8")) for path in (evaluation, labels)]
    return f"{table(read[0])}\n{decisions(read[1])}"


@click.command("scores", cls=Command)
def command() -> str:
    r"""Show the scores of the last evaluation.

    \b
    Example:
      ecmf scores
    """
    return scores(EVALUATION, LABELS)
