"""Search hyper-parameters of `train_fusion`: `ecmf sweep [--space KEY=RANGE ...]`.

Run it after `dvc repro`: it reads the features and labels, and scores on validation folds; labels
of the test split are hidden. The best trial is written as a preset, and is compared with the
unchanged parameters on fresh seeds, because its score in the search is biased upwards. Without a
test split, the first outer fold is held out in its place. The other outer folds of a later
evaluation then contain clips of the search, a small bias that `ecmf index --hold-out` avoids.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from ecmf.cli.command import Command
from ecmf.data.manifest import read_manifest
from ecmf.errors import ParamsError
from ecmf.params import Params, load_params
from ecmf.training.source_reading import paths_of_branches, paths_with_rows
from ecmf.training.task import task_of_corpus
from ecmf.tuning.objective import Objective, compare_on_fresh_seeds, hide_test_labels
from ecmf.tuning.report import (
    PRESET_HEADER,
    comparison_table,
    describe_gain,
    draw_trials,
    write_preset,
    write_trials,
)
from ecmf.tuning.search import best_trial, search
from ecmf.tuning.search_space import read_space

PARAMS = Path("params.yaml")
MANIFESTS = Path("data/manifests")
LABELS = Path("data/labels.csv")
FEATURES = Path("data/features")
TABLE = Path("metrics/sweep.csv")
PLOT = Path("metrics/sweep.png")
PRESET = Path(__file__).resolve().parents[1] / "presets" / "swept.yaml"


def sweep_fusion(space: list[str], trials: int, seed: int, fresh: int, preset: Path) -> str:
    """Search, write table, plot and preset, compare on fresh seeds; return a summary.

    Raises:
        ParamsError: the space is invalid, or `preset` was not written by a sweep.
    """
    _check_overwrite(preset)
    params = load_params(PARAMS)
    distributions = read_space(space, params.train_fusion)
    objective = _objective(params, seed)
    finished = search(objective, distributions, trials, seed)
    write_trials(finished, TABLE)
    draw_trials(finished, distributions, PLOT)
    best = best_trial(finished)
    seeds = range(seed + 1, seed + 1 + fresh)
    monitor = objective.targets.task.monitor
    unchanged, swept = compare_on_fresh_seeds(objective, best.values, seeds)
    purpose = (
        f"train_fusion with {params.train_fusion.model} on {params.corpus}, the best of {trials} "
        f"trials; on {fresh} fresh seeds {describe_gain(unchanged, swept, monitor)}."
    )
    write_preset(best.values, purpose, preset)
    states = Counter(trial.state for trial in finished)
    return "\n".join(
        [
            "trials: " + ", ".join(f"{count} {state}" for state, count in states.items()),
            f"best: trial {best.number}, {monitor.upper()} {best.score:.3f} on the folds of the "
            "search: " + ", ".join(f"{key} {value}" for key, value in best.values.items()),
            comparison_table(unchanged, swept, seeds, monitor),
            f"written: {TABLE}, {PLOT}, {preset}",
        ]
    )


def _objective(params: Params, seed: int) -> Objective:
    manifest = MANIFESTS / f"{params.corpus}.csv"
    clips = read_manifest(manifest)
    task = task_of_corpus(params.train_fusion.task, manifest, clips)
    targets = task.read_targets(LABELS, clips)
    clips, targets = hide_test_labels(clips, targets, params.train_fusion, seed)
    paths = paths_with_rows(paths_of_branches(params.sources.paths(FEATURES), params.train_fusion))
    return Objective(paths, clips, targets, params.train_fusion)


def _check_overwrite(preset: Path) -> None:
    """Check, before hours of search, that `preset` may be written."""
    if preset.suffix != ".yaml":
        raise ParamsError(f"--preset {preset}: choose a name that ends in .yaml")
    if preset.is_file() and not preset.read_text(encoding="utf-8").startswith(PRESET_HEADER):
        raise ParamsError(f"--preset {preset}: not written by a sweep: choose another name")


@click.command("sweep", cls=Command)
@click.option(
    "--space",
    multiple=True,
    metavar="KEY=RANGE",
    help="learning_rate=log:1e-4:1e-2, mixup=0:0.8, options.ecmf.width=64,128; may be repeated.",
)
@click.option("--trials", type=click.IntRange(1), default=40, help="Number of trials.")
@click.option("--seed", type=int, default=0, help="Seed of draws, folds and weights.")
@click.option(
    "--fresh",
    type=click.IntRange(2),
    default=5,
    help="Fresh seeds for the comparison; at least two, for an interval.",
)
@click.option(
    "--preset", type=click.Path(path_type=Path), default=PRESET, help="File for the best trial."
)
def command(space: Sequence[str], trials: int, seed: int, fresh: int, preset: Path) -> str:
    """Search parameters of train_fusion on validation folds; write the best as a preset.

    \b
    Example:
      ecmf sweep --space learning_rate=log:1e-4:1e-2 --trials 40
      dvc exp run $(ecmf preset swept)
    """  # noqa: D301
    return sweep_fusion(list(space), trials, seed, fresh, preset)
