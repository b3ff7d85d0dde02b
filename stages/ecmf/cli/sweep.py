"""Search parameters of `train_fusion`: `python stages/sweep_fusion.py [--space KEY=RANGE ...]`.

Run by hand after `dvc repro`: it reads the features and labels that stand there, and validation
folds alone; no label of the test split is looked at. The best is written as a preset, and trained
again beside the unchanged parameters on fresh seeds, for the best of a search flatters. Without a
test split, the first test fold is set apart as one: the other test folds of a later evaluation are
then of clips that were searched on, and flatter a little too (`index_corpus.py --hold-out` helps).
"""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click
import yaml

from ecmf.cli.command import Command
from ecmf.data.manifest import classes_of, read_manifest
from ecmf.errors import ParamsError
from ecmf.params import Params, load_params
from ecmf.training.targets import read_targets
from ecmf.tuning.objective import Ground, again, blind
from ecmf.tuning.report import (
    MADE_BY_A_SWEEP,
    compared,
    draw_trials,
    gain,
    write_preset,
    write_trials,
)
from ecmf.tuning.search import best, search
from ecmf.tuning.search_space import read_space

PARAMS = Path("params.yaml")
MANIFESTS = Path("data/manifests")
LABELS = Path("data/labels.csv")
FEATURES = Path("data/features")
TABLE = Path("metrics/sweep.csv")
PICTURE = Path("metrics/sweep.png")
PRESET = Path(__file__).resolve().parents[1] / "presets" / "swept.yaml"


def sweep_fusion(space: list[str], trials: int, seed: int, fresh: int, preset: Path) -> str:
    """Search, write table, picture and preset, train again; return what is to be said of it."""
    _refuse_to_overwrite(preset)
    params = load_params(PARAMS)
    written = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))["train_fusion"]
    drawn = read_space(space, params.train_fusion, written)
    ground = _ground(params, seed)
    tried = search(ground, drawn, trials, seed)
    write_trials(tried, TABLE)
    draw_trials(tried, drawn, PICTURE)
    found = best(tried)
    seeds = range(seed + 1, seed + 1 + fresh)
    now, swept = again(ground, found.values, seeds)
    purpose = (
        f"train_fusion with {params.train_fusion.model} on {params.corpus}, the best of {trials} "
        f"trials; on {fresh} fresh seeds {gain(now, swept)}."
    )
    write_preset(found.values, purpose, preset)
    counted = Counter(trial.state for trial in tried)
    return "\n".join(
        [
            "trials: " + ", ".join(f"{count} {state}" for state, count in counted.items()),
            f"best is trial {found.number}, WAF {found.score:.3f} on the folds it was chosen by: "
            + ", ".join(f"{key} {value}" for key, value in found.values.items()),
            compared(now, swept, seeds),
            f"written: {TABLE}, {PICTURE}, {preset}",
        ]
    )


def _ground(params: Params, seed: int) -> Ground:
    manifest = MANIFESTS / f"{params.corpus}.csv"
    clips = read_manifest(manifest)
    targets = read_targets(LABELS, clips, classes_of(manifest, clips))
    blinded, without = blind(clips, targets, params.train_fusion, seed)
    return Ground(params.sources.paths(FEATURES), blinded, without, params.train_fusion)


def _refuse_to_overwrite(preset: Path) -> None:
    """Say so before hours of search, not after."""
    if preset.suffix != ".yaml":
        raise ParamsError(f"--preset {preset}: a preset is a file .yaml")
    if preset.is_file() and not preset.read_text(encoding="utf-8").startswith(MADE_BY_A_SWEEP):
        raise ParamsError(f"--preset {preset}: it was not made by a sweep; choose another name")


@click.command("sweep", cls=Command)
@click.option(
    "--space",
    multiple=True,
    metavar="KEY=RANGE",
    help="learning_rate=log:1e-4:1e-2, mixup=0:0.8, options.ecmf.width=64,128; may be repeated.",
)
@click.option("--trials", type=click.IntRange(1), default=40, help="How many sets are drawn.")
@click.option("--seed", type=int, default=0, help="Of the draws, the folds, the weights.")
@click.option(
    "--fresh",
    type=click.IntRange(2),
    default=5,
    help="Seeds the best is trained again with; one has no interval.",
)
@click.option(
    "--preset", type=click.Path(path_type=Path), default=PRESET, help="Where the best is written."
)
def command(space: Sequence[str], trials: int, seed: int, fresh: int, preset: Path) -> str:
    r"""Search parameters of train_fusion on validation folds, and write the best as a preset.

    \b
    Example:
      ecmf sweep --space learning_rate=log:1e-4:1e-2 --trials 40
      dvc exp run $(ecmf preset swept)
    """
    logging.getLogger().setLevel(logging.INFO)
    return sweep_fusion(list(space), trials, seed, fresh, preset)
