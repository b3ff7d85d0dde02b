"""Scores of the last evaluation -> a few lines for the eye: `python stages/show_scores.py`."""

import json
import sys
from pathlib import Path
from typing import Any

from ecmf.errors import MissingFileError, UserError

EVALUATION = Path("metrics/evaluation.json")


def table(report: dict[str, Any]) -> str:
    """Lay out what `evaluate_fusion` wrote."""
    lines = [f"{'':5} {'WAF':>6}  95 % interval  {'accuracy':>8} {'UAR':>6} {'macro F1':>8}  clips"]
    for split in ("test", "val"):
        of = report[split]
        lines.append(
            f"{split:5} {of['waf']:6.3f}  {of['waf_low']:.3f} to {of['waf_high']:.3f} "
            f"{of['accuracy']:8.3f} {of['uar']:6.3f} {of['macro_f1']:8.3f}  {of['clips']:5d}"
        )
    per_class = ", ".join(f"{name} {f1:.2f}" for name, f1 in report["test"]["f1"].items())
    seeds = " ".join(f"{waf:.3f}" for waf in report["test"]["waf_by_seed"].values())
    lines += [f"test F1: {per_class}", f"test WAF by seed: {seeds} ({report['protocol']})"]
    return "\n".join(lines)


def main(evaluation: Path) -> None:
    """Print the table of `evaluation`."""
    if not evaluation.is_file():
        raise MissingFileError(f"no {evaluation}: `dvc repro` makes it")
    sys.stdout.write(table(json.loads(evaluation.read_text(encoding="utf-8"))) + "\n")


if __name__ == "__main__":
    try:
        main(EVALUATION)
    except UserError as error:
        sys.exit(f"error: {error}")
