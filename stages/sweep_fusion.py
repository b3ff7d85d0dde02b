"""Search parameters of `train_fusion`: `python stages/sweep_fusion.py [--space KEY=RANGE ...]`.

Run by hand after `dvc repro`: it reads the features and labels that stand there, and validation
folds alone; no label of the test split is looked at. The best is written as a preset, and trained
again beside the unchanged parameters on fresh seeds, for the best of a search flatters. Without a
test split, the first test fold is set apart as one: the other test folds of a later evaluation are
then of clips that were searched on, and flatter a little too (`index_corpus.py --hold-out` helps).
"""

import argparse
import logging
import sys
from collections import Counter
from pathlib import Path

import yaml

from ecmf.by_hand import say
from ecmf.errors import ParamsError
from ecmf.manifest import classes_of, read_manifest
from ecmf.params import Params, load_params
from ecmf.search_space import read_space
from ecmf.stage import INTERRUPTED
from ecmf.sweep import Ground, again, blind
from ecmf.sweep_report import (
    MADE_BY_A_SWEEP,
    compared,
    draw_trials,
    gain,
    write_preset,
    write_trials,
)
from ecmf.targets import read_targets
from ecmf.trials import best, search

PARAMS = Path("params.yaml")
MANIFESTS = Path("data/manifests")
LABELS = Path("data/labels.csv")
FEATURES = Path("data/features")
TABLE = Path("metrics/sweep.csv")
PICTURE = Path("metrics/sweep.png")
PRESET = Path(__file__).resolve().parent / "ecmf" / "presets" / "swept.yaml"


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


def main() -> int:
    """Read the command line; a mistake the user can mend is one message and exit code 1."""
    parser = argparse.ArgumentParser(description="Search parameters of train_fusion.")
    parser.add_argument(
        "--space",
        action="append",
        default=[],
        metavar="KEY=RANGE",
        help="learning_rate=log:1e-4:1e-2, mixup=0:0.8, options.ecmf.width=64,128; may be repeated",
    )
    parser.add_argument("--trials", type=int, default=40, help="how many sets are drawn")
    parser.add_argument("--seed", type=int, default=0, help="of the draws, the folds, the weights")
    parser.add_argument("--fresh", type=int, default=5, help="seeds the best is trained again with")
    parser.add_argument("--preset", type=Path, default=PRESET, help="where the best is written")
    given = parser.parse_args()
    if given.trials < 1 or given.fresh < 2:
        parser.error("--trials is 1 or more, --fresh 2 or more: one seed has no interval")
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    try:
        return say(
            lambda: sweep_fusion(given.space, given.trials, given.seed, given.fresh, given.preset)
        )
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
