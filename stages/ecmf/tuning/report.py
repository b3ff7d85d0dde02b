"""Report a sweep: a table and a plot of its trials, the gain on fresh seeds, and a preset."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from matplotlib.figure import Figure
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from scipy import stats

from ecmf.storage.files import atomic_write, write_csv, write_text
from ecmf.tuning.dotted_params import Value, Values, nest
from ecmf.tuning.objective import ValidationScore
from ecmf.tuning.search import Trial
from ecmf.tuning.search_space import Space

CONFIDENCE = 0.95
PRESET_HEADER = "# Swept: "
COLOURS = {"complete": "tab:blue", "pruned": "tab:grey"}
COLUMNS = 4
LABEL_WIDTH = len("val split, not searched, difference")

Scores = NDArray[np.float64]
"""One score per seed."""


def write_trials(trials: Sequence[Trial], path: Path) -> None:
    """Write one row per trial; an invalid trial has no score."""
    rows = [["trial", "state", "folds", "validation_score", *trials[0].values, "reason"]]
    for trial in trials:
        score = f"{trial.score:.6f}" if trial.by_fold else ""
        values = [_format(value) for value in trial.values.values()]
        folds = str(len(trial.by_fold))
        rows.append([str(trial.number), trial.state, folds, score, *values, trial.reason])
    write_csv(path, rows)


def draw_trials(trials: Sequence[Trial], space: Space, path: Path) -> None:
    """Plot the score and the best score so far by trial, and the score by each parameter."""
    scored = [trial for trial in trials if trial.by_fold]
    plot_rows = -(-len(space) // COLUMNS)
    figure = Figure(figsize=(3 * COLUMNS, 2.6 * (plot_rows + 1)), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[1, plot_rows], squeeze=False).ravel()
    axes = above.subplots()
    _scatter(axes, scored, [trial.number for trial in scored])
    complete = [trial for trial in scored if trial.state == "complete"]
    best_so_far = list(accumulate((trial.score for trial in complete), max))
    axes.step([trial.number for trial in complete], best_so_far, where="post", color="tab:orange")
    axes.set_xlabel("trial (line: best so far; grey: pruned)")
    axes.set_ylabel("validation score")
    cells = below.subplots(plot_rows, COLUMNS, sharey=True, squeeze=False).ravel()
    for (key, distribution), axes in zip(space.items(), cells, strict=False):
        values: list[Any] = [trial.values[key] for trial in scored]
        if isinstance(distribution, CategoricalDistribution):
            values = [distribution.choices.index(value) for value in values]
            axes.set_xticks(range(len(distribution.choices)), map(_format, distribution.choices))
        elif isinstance(distribution, (FloatDistribution, IntDistribution)) and distribution.log:
            axes.set_xscale("log")
        _scatter(axes, scored, values)
        axes.set_xlabel(key)
    for axes in cells[len(space) :]:
        axes.set_axis_off()
    with atomic_write(path) as part:
        figure.savefig(part, format="png", metadata={"Software": None})


def comparison_table(
    unchanged: Sequence[ValidationScore],
    swept: Sequence[ValidationScore],
    seeds: Sequence[int],
    monitor: str,
) -> str:
    """Format the scores of both and their paired difference on the folds and, if any, `val` split.

    The intervals are Student's over the seeds: the variance of folds and weights, not of clips.
    """
    lines = [f"seeds {' '.join(map(str, seeds))}, mean {monitor.upper()} per seed"]
    lines.append(f"{'':{LABEL_WIDTH}} {'mean':>6}  deviation  {100 * CONFIDENCE:.0f} % interval")
    for label, first, second in _measured(unchanged, swept):
        lines.append(f"{label + ', unchanged':{LABEL_WIDTH}} {_line(first, '6.3f', '.3f')}")
        lines.append(f"{label + ', swept':{LABEL_WIDTH}} {_line(second, '6.3f', '.3f')}")
        lines.append(
            f"{label + ', difference':{LABEL_WIDTH}} {_line(second - first, '+6.3f', '+.3f')}"
        )
    low, _ = interval(_validation(swept) - _validation(unchanged))
    if low <= 0:
        lines.append("no significant gain on the validation folds: keep params.yaml as it is")
    return "\n".join(lines)


def describe_gain(
    unchanged: Sequence[ValidationScore], swept: Sequence[ValidationScore], monitor: str
) -> str:
    """Format the paired difference on the validation folds."""
    difference = _validation(swept) - _validation(unchanged)
    low, high = interval(difference)
    return f"{difference.mean():+.3f} validation {monitor.upper()} ({low:+.3f} to {high:+.3f})"


def interval(scores: Scores) -> tuple[float, float]:
    """Return the confidence interval of the mean of two or more scores, by Student's t."""
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(scores) - 1) * scores.std(ddof=1)
    mean, half = float(scores.mean()), float(half / np.sqrt(len(scores)))
    return mean - half, mean + half


def write_preset(values: Values, purpose: str, path: Path) -> None:
    """Write the values as a preset for `ecmf preset`; its first line states the purpose."""
    text = yaml.safe_dump({"train_fusion": nest(values, {})}, sort_keys=False)
    write_text(path, f"{PRESET_HEADER}{purpose}\n{text}")


def _measured(
    unchanged: Sequence[ValidationScore], swept: Sequence[ValidationScore]
) -> list[tuple[str, Scores, Scores]]:
    measured = [("validation folds", _validation(unchanged), _validation(swept))]
    if all(score.val_split is not None for score in (*unchanged, *swept)):
        both = [
            np.array([score.val_split for score in scores], "float64")
            for scores in (unchanged, swept)
        ]
        measured.append(("val split, not searched", both[0], both[1]))
    return measured


def _validation(scores: Sequence[ValidationScore]) -> Scores:
    return np.array([score.validation for score in scores])


def _line(scores: Scores, form: str, bound: str) -> str:
    low, high = interval(scores)
    return f"{scores.mean():{form}}  {scores.std(ddof=1):9.3f}  {low:{bound}} to {high:{bound}}"


def _scatter(axes: Any, trials: Sequence[Trial], positions: Sequence[Any]) -> None:
    axes.scatter(
        positions,
        [trial.score for trial in trials],
        c=[COLOURS[trial.state] for trial in trials],
        s=14,
    )


def _format(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)
