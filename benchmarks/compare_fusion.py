"""Compare all fusions under one protocol: the same features, folds, seeds and epochs.

    python benchmarks/compare_fusion.py [--members ecmf,late] [sample] [ravdess]
        [ravdess_by_speaker] [ravdess_whisper] [mosi] [ablation]

Without names: all corpora, and the ablation of `ecmf` on the first two; without `--members`: all
fusions. `ecmf` and `baseline` are always among them, for the claims. Voices and texts are sequences
of rows (`compare_rows.py` compares one row per clip). Each fusion has its own default options, and
the training parameters of `params.yaml` with the changes of `corpora.protocol`: 5 seeds, fixed
epochs, no early stopping, so that all train on the same clips; nothing is tuned here. Finished
trainings are cached, so a killed comparison resumes.

For reference: the mean and the product of logistic regressions, one per source, and the mean of all
fusions' probabilities. WAF is the mean over the seeds; the interval comes from drawing actors (on
MOSI clips) with replacement, paired with `baseline`. Seconds are processor time of one training
over that of `baseline`.

Claims: on RAVDESS, both ways, the best fusion is above the product of the classifiers by more than
the interval of the difference; `ecmf` is nowhere below `baseline` beyond the interval.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from support.comparison import (
    Confusions,
    TestProbabilities,
    Variant,
    confusions,
    count,
    difference,
    log,
    predictions,
    seed_scores,
    table,
)
from support.corpora import Corpus, load_corpora
from support.late_fusion import PRODUCT, predict_late_fusions

from ecmf import registry
from ecmf.params import TrainFusion
from ecmf.training.dataset import Dataset
from ecmf.training.fold_runs import plan_runs
from ecmf.training.source_reading import read_sources
from ecmf.training.trainer import fit

BASELINE, ALL = "baseline", "mean of all fusions"
ABLATION_CORPORA = ("sample", "RAVDESS")
SWITCHES = ("self_attention", "residual", "weighting", "keep_original")


def predict_all(corpus: Corpus, names: Sequence[str]) -> dict[str, TestProbabilities]:
    """Train the named fusions and predict the test clips."""
    probs = {}
    for name in names:
        params = corpus.training.model_copy(update={"model": name})
        variant = Variant(f"{corpus.name}: {name}", params, corpus.paths)
        (probs[name],) = predictions(variant, corpus.clips, corpus.classes, corpus.targets)
    return probs


def measure_costs(corpus: Corpus, names: list[str]) -> dict[str, tuple[int, float]]:
    """Return per fusion the number of parameters, and the training time over the baseline's."""
    training = corpus.training.model_copy(update={"epochs": 3})
    dataset = Dataset(read_sources(dict(corpus.paths), corpus.clips, training), torch.device("cpu"))
    fold = plan_runs(corpus.clips, training)[0].fold

    def measure(params: TrainFusion) -> tuple[int, float]:
        start = time.process_time()
        model = fit(dataset, corpus.targets, fold, 0, params).model
        seconds = time.process_time() - start
        return sum(parameter.numel() for parameter in model.parameters()), seconds

    measure(training.model_copy(update={"model": BASELINE}))  # warm-up
    costs = {}
    for name in names:
        params = training.model_copy(update={"model": name})
        (_, before), (parameters, seconds), (_, after) = (
            measure(params.model_copy(update={"model": model}))
            for model in (BASELINE, name, BASELINE)
        )
        costs[name] = parameters, seconds / ((before + after) / 2)
    return costs


def ablation(corpus: Corpus) -> dict[str, Confusions]:
    """Train `ecmf` as it is, with each part switched off, and without each branch."""
    options = corpus.training.options.get("ecmf", {})
    changes: dict[str, Mapping[str, object]] = {"ecmf": {}}
    for switch in SWITCHES:
        name = f"without {switch}" + (" and source_loss" if switch == "keep_original" else "")
        changes[name] = {"options": {**corpus.training.options, "ecmf": {**options, switch: False}}}
    changes["without source_loss"] = {
        "options": {**corpus.training.options, "ecmf": {**options, "source_loss": 0.0}}
    }
    for branch in corpus.branches:
        others = tuple(name for name in corpus.branches if name != branch)
        changes[f"without {branch}"] = {"branches": others}
        changes[f"{branch} alone"] = {"branches": (branch,)}
    if len(corpus.branches) == 2:
        changes = {name: change for name, change in changes.items() if "alone" not in name}
    return {
        name: confusions(
            Variant(
                f"{corpus.name}: {name}", corpus.training.model_copy(update=change), corpus.paths
            ),
            corpus.clips,
            corpus.classes,
            corpus.targets,
        )
        for name, change in changes.items()
    }


def compare(corpus: Corpus, names: Sequence[str]) -> bool:
    """Print the table of a corpus; return whether the claims hold there."""
    probs = predict_all(corpus, names)
    probs[ALL] = np.sum([probs[name] for name in names], axis=0)
    probs |= predict_late_fusions(corpus)
    results = {name: count(p, corpus.clips, corpus.classes) for name, p in probs.items()}
    costs = measure_costs(corpus, names)
    lines = table(results, reference=BASELINE).splitlines()
    lines[0] += " parameters | seconds |"
    lines[1] += "---|---|"
    for number, name in enumerate(results, start=2):
        parameters, seconds = costs.get(name, (0, 0.0))
        lines[number] += f" {parameters:,} | {seconds:.1f} |" if parameters else " | |"
    log.info("### %s, %d clips\n%s", corpus.name, len(corpus.clips), "\n".join(lines))
    holds = True
    gain, low, high = difference(results["ecmf"], results[BASELINE])
    if high < 0:
        log.info("ecmf is below baseline by %.3f (%.3f to %.3f)", gain, low, high)
        holds = False
    best = max(names, key=lambda name: seed_scores(results[name]).mean())
    for name in (best, ALL):
        gain, low, high = difference(results[name], results[PRODUCT])
        log.info("%s against the %s: %+.3f (%+.3f to %+.3f)", name, PRODUCT, gain, low, high)
        if name == best and corpus.name.startswith("RAVDESS"):
            holds &= low > 0
    return holds


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("corpora", nargs="*", help="corpora, and `ablation`; default: all")
    parser.add_argument("--members", help="fusions, separated by commas; default: all")
    return parser.parse_args()


def main() -> int:
    """Print all tables; return 1 if a claim does not hold."""
    given = parse_arguments()
    asked = given.members.split(",") if given.members else registry.names("fusion")
    chosen = {registry.check_name("fusion", name) for name in asked} | {BASELINE, "ecmf"}
    members = [BASELINE, *sorted(chosen - {BASELINE})]
    names = [name for name in given.corpora if name != "ablation"]
    with tempfile.TemporaryDirectory() as folder:
        corpora = load_corpora(names, Path(folder))
        holds = True
        if not given.corpora or names:
            for corpus in corpora:
                holds &= compare(corpus, members)
        if not given.corpora or "ablation" in given.corpora:
            for corpus in corpora:
                if corpus.name not in ABLATION_CORPORA:
                    log.info(
                        "no ablation on %s, only on %s", corpus.name, " and ".join(ABLATION_CORPORA)
                    )
                else:
                    log.info("### ecmf on %s\n%s", corpus.name, table(ablation(corpus), "ecmf"))
    return int(not holds)


if __name__ == "__main__":
    sys.exit(main())
