"""Trials and the trainings on fresh seeds -> a table, a picture, a few lines, and a preset."""

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

from ecmf.storage.files import replacing, write_table, write_text
from ecmf.tuning.dotted_params import Value, Values, nested
from ecmf.tuning.objective import Waf
from ecmf.tuning.search import Trial
from ecmf.tuning.search_space import Space

CONFIDENCE = 0.95
MADE_BY_A_SWEEP = "# Swept: "
COLOURS = {"complete": "tab:blue", "pruned": "tab:grey"}
COLUMNS = 4
WIDTH = len("val split, not searched, difference")

Scores = NDArray[np.float64]
"""One per seed."""


def write_trials(trials: Sequence[Trial], path: Path) -> None:
    """Write one line per trial; without a score, it was no valid set."""
    lines = [["trial", "state", "folds", "validation_waf", *trials[0].values, "reason"]]
    for one in trials:
        score = f"{one.score:.6f}" if one.by_fold else ""
        values = [_written(value) for value in one.values.values()]
        folds = str(len(one.by_fold))
        lines.append([str(one.number), one.state, folds, score, *values, one.reason])
    write_table(path, lines)


def draw_trials(trials: Sequence[Trial], space: Space, path: Path) -> None:
    """Draw the score by trial with the best so far, and the score by each parameter's value."""
    scored = [trial for trial in trials if trial.by_fold]
    rows = -(-len(space) // COLUMNS)
    figure = Figure(figsize=(3 * COLUMNS, 2.6 * (rows + 1)), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[1, rows], squeeze=False).ravel()
    axes = above.subplots()
    _scatter(axes, scored, [trial.number for trial in scored])
    through = [trial for trial in scored if trial.state == "complete"]
    leading = list(accumulate((trial.score for trial in through), max))
    axes.step([trial.number for trial in through], leading, where="post", color="tab:orange")
    axes.set_xlabel("trial (line: the best so far; grey: given up before its last fold)")
    axes.set_ylabel("validation WAF")
    cells = below.subplots(rows, COLUMNS, sharey=True, squeeze=False).ravel()
    for (key, one), axes in zip(space.items(), cells, strict=False):
        values: list[Any] = [trial.values[key] for trial in scored]
        if isinstance(one, CategoricalDistribution):
            values = [one.choices.index(value) for value in values]
            axes.set_xticks(range(len(one.choices)), map(_written, one.choices))
        elif isinstance(one, (FloatDistribution, IntDistribution)) and one.log:
            axes.set_xscale("log")
        _scatter(axes, scored, values)
        axes.set_xlabel(key)
    for axes in cells[len(space) :]:
        axes.set_axis_off()
    with replacing(path) as part:
        figure.savefig(part, format="png", metadata={"Software": None})


def compared(now: Sequence[Waf], swept: Sequence[Waf], seeds: Sequence[int]) -> str:
    """Say both in a table, and their paired difference; of the `val` split too, where it is left.

    The intervals are Student's over the seeds: the luck of folds and weights, not of other clips.
    """
    lines = [f"seeds {' '.join(map(str, seeds))}, mean WAF per seed"]
    lines.append(f"{'':{WIDTH}} {'mean':>6}  deviation  {100 * CONFIDENCE:.0f} % interval")
    for place, first, second in _measured(now, swept):
        lines.append(f"{place + ', unchanged':{WIDTH}} {_line(first, '6.3f', '.3f')}")
        lines.append(f"{place + ', swept':{WIDTH}} {_line(second, '6.3f', '.3f')}")
        lines.append(f"{place + ', difference':{WIDTH}} {_line(second - first, '+6.3f', '+.3f')}")
    low, _ = interval(_validation(swept) - _validation(now))
    if low <= 0:
        lines.append("no gain beyond chance on the validation folds: keep params.yaml as it is")
    return "\n".join(lines)


def gain(now: Sequence[Waf], swept: Sequence[Waf]) -> str:
    """Say the paired difference on the validation folds in a few words."""
    difference = _validation(swept) - _validation(now)
    low, high = interval(difference)
    return f"{difference.mean():+.3f} validation WAF ({low:+.3f} to {high:+.3f})"


def interval(scores: Scores) -> tuple[float, float]:
    """Bounds of the mean of two or more scores, by Student's t."""
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(scores) - 1) * scores.std(ddof=1)
    mean, half = float(scores.mean()), float(half / np.sqrt(len(scores)))
    return mean - half, mean + half


def write_preset(values: Values, purpose: str, path: Path) -> None:
    """Write the values as `ecmf preset` reads them; the first line says what they are."""
    text = yaml.safe_dump({"train_fusion": nested(values, {})}, sort_keys=False)
    write_text(path, f"{MADE_BY_A_SWEEP}{purpose}\n{text}")


def _measured(now: Sequence[Waf], swept: Sequence[Waf]) -> list[tuple[str, Scores, Scores]]:
    measured = [("validation folds", _validation(now), _validation(swept))]
    if all(waf.untouched is not None for waf in (*now, *swept)):
        both = [np.array([waf.untouched for waf in wafs], "float64") for wafs in (now, swept)]
        measured.append(("val split, not searched", both[0], both[1]))
    return measured


def _validation(wafs: Sequence[Waf]) -> Scores:
    return np.array([waf.validation for waf in wafs])


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


def _written(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)
