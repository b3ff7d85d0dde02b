"""Print the scores of the last evaluation: `ecmf scores`."""

import json
from pathlib import Path
from typing import Any

import click

from ecmf.cli.command import Command
from ecmf.errors import MissingFileError

EVALUATION = Path("metrics/evaluation.json")
LABELS = Path("metrics/labels.json")


def table(report: dict[str, Any]) -> str:
    """Format the report of `evaluate_fusion`."""
    lines = [f"{'':5} {'WAF':>6}  95 % interval  {'accuracy':>8} {'UAR':>6} {'macro F1':>8}  clips"]
    for split in ("test", "val"):
        if split not in report:  # with folds: 0 no clip is held out
            continue
        scores = report[split]
        lines.append(
            f"{split:5} {scores['waf']:6.3f}  {scores['waf_low']:.3f} to {scores['waf_high']:.3f} "
            f"{scores['accuracy']:8.3f} {scores['uar']:6.3f} {scores['macro_f1']:8.3f}  "
            f"{scores['clips']:5d}"
        )
    per_class = ", ".join(f"{name} {f1:.2f}" for name, f1 in report["test"]["f1"].items())
    seeds = " ".join(f"{waf:.3f}" for waf in report["test"]["waf_by_seed"].values())
    lines += [f"test F1: {per_class}", f"test WAF by seed: {seeds} ({report['protocol']})"]
    if members := report.get("members"):
        alone = ", ".join(f"{name} {model['waf']:.3f}" for name, model in members.items())
        lines.append(f"test WAF of each member alone: {alone}")
    test = report["test"]
    if "valence_mse" in test:
        lines.append(
            f"test valence: squared error {test['valence_mse']:.3f} on {test['valence_clips']} "
            f"clips, WAF - 0.25 of it {test['mer2023_combined']:.3f}"
        )
    return "\n".join(lines)


def decisions(audit: dict[str, Any]) -> str:
    """Summarise the report of `audit_labels` in one line."""
    counts = ", ".join(f"{count} {name}" for name, count in audit["decisions"].items())
    added = f", {audit['added']} unlabelled clips added" if audit["added"] else ""
    return f"training labels: {counts}{added}; why: metrics/doubts.html, data/labels.csv"


def scores(evaluation: Path, labels: Path) -> str:
    """Return the scores in `evaluation`, and the decisions on training labels in `labels`."""
    for path in (evaluation, labels):
        if not path.is_file():
            raise MissingFileError(f"no {path}: run `dvc repro`")
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in (evaluation, labels)]
    return f"{table(reports[0])}\n{decisions(reports[1])}"


@click.command("scores", cls=Command)
def command() -> str:
    """Show the scores of the last evaluation.

    \b
    Example:
      ecmf scores
    """  # noqa: D301
    return scores(EVALUATION, LABELS)
