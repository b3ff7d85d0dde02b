"""Compare refitting with the models of the inner folds, and with no inner folds at all.

    python benchmarks/compare_refit.py [--seeds 5] [sample] [ravdess] [ravdess_by_speaker]

Run after `dvc repro`, from the project's root. A corpus is tested in 4 folds by actor. `ecmf` is
trained on the rest in 5 inner folds, each of which stops at its best epoch. Either the 5 models are
averaged (`refit: false`), or one is trained on all their clips for the median of these epochs
(`refit: true`, the default), or one is trained for all epochs without inner folds (`folds: 0`). The
first two share their trainings. Labels are true, parameters otherwise those of `params.yaml`;
intervals are over actors, each gain is paired. Claim: refitting is nowhere below averaging beyond
the interval. Finished trainings are cached.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from support.comparison import (
    SEEDS,
    Confusions,
    Variant,
    confusions,
    count,
    difference,
    log,
    table,
)
from support.corpora import Corpus, load_corpora

from ecmf.data.splits import REFIT
from ecmf.params import load_params
from ecmf.training.cross_validation import train_all
from ecmf.training.dataset import Dataset
from ecmf.training.model import load_model
from ecmf.training.prediction import predict
from ecmf.training.source_reading import read_sources
from ecmf.training.weight_files import read_weights

CORPORA = ("sample", "ravdess", "ravdess_by_speaker")
AVERAGED, REFITTED, WHOLE = "models of the inner folds", "refit (default)", "no inner folds"


def score_inner_folds(corpus: Corpus, seeds: tuple[int, ...]) -> dict[str, Confusions]:
    """Train in inner folds and on all of them, and count the predictions of both."""
    changes = {"folds": load_params().train_fusion.folds, "refit": True, "seeds": seeds}
    params = corpus.training.model_copy(update=changes).of_member(corpus.training.model)
    sources = read_sources(dict(corpus.paths), corpus.clips, params)
    device = torch.device("cpu")
    dataset = Dataset(sources, device)
    shape = (len(seeds), len(corpus.clips), len(corpus.classes))
    probs = {AVERAGED: np.zeros(shape), REFITTED: np.zeros(shape)}
    for trained in train_all(dict(corpus.paths), corpus.clips, corpus.targets, params):
        weights, _ = read_weights(trained.weights, trained.digest, "run again")
        model = load_model(weights, params, sources, corpus.targets.task, device)
        name = REFITTED if trained.run.fold.fold == REFIT else AVERAGED
        test, seed = trained.run.fold.test, seeds.index(trained.run.seed)
        probs[name][seed, test] += predict(model, dataset, test).outputs
    return {name: count(each, corpus.clips, corpus.classes) for name, each in probs.items()}


def compare(corpus: Corpus, seeds: tuple[int, ...]) -> bool:
    """Print the table of a corpus; return whether the claim holds there."""
    results = score_inner_folds(corpus, seeds)
    params = corpus.training.model_copy(update={"seeds": seeds})
    variant = Variant(f"{corpus.name}: {WHOLE}", params, corpus.paths)
    results[WHOLE] = confusions(variant, corpus.clips, corpus.classes, corpus.targets)
    log.info("### %s\n%s", corpus.name, table(results, reference=AVERAGED))
    _, _, high = difference(results[REFITTED], results[AVERAGED])
    return high >= 0


def main() -> int:
    """Print the tables; return 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("corpora", nargs="*", default=CORPORA, help=", ".join(CORPORA))
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="trainings per fold")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        corpora = load_corpora(given.corpora, Path(folder))
        holds = [compare(corpus, tuple(range(given.seeds))) for corpus in corpora]
    return int(not all(holds))


if __name__ == "__main__":
    sys.exit(main())
