"""Compare all fusions fairly: the same sources, folds, seeds, dropout of inputs and tuning.

    python benchmarks/compare_fusion.py [--members ecmf,late] [--estimate] [sample] [ravdess]
        [ravdess_by_speaker] [ravdess_whisper] [nemo] [mosi] [ablation]

Without names: all corpora, and the ablation of `ecmf` on the first two; without `--members`: all
fusions. `ecmf`, `late` and `baseline` are always among them, for the claims. Voices and texts are
sequences of rows (`compare_rows.py` compares one row per clip). Training parameters are those of
`params.yaml` with the changes of `corpora.protocol`: fixed epochs, no early stopping, so that all
train on the same clips, and dropout of inputs for every fusion alike. On the sample and on RAVDESS
each fusion is tuned by `support/tuned_training.py`; elsewhere it is trained as it is. The clips
held out there also compare dropout of inputs with none. Options are each fusion's defaults.
Finished trainings are cached, so a killed comparison resumes, and several processes may share the
work by `--members`. `--estimate` trains a few epochs of each and prints the hours of processor time
that all would take.

For reference: the mean and the product of logistic regressions, one per source, the mean of all
fusions' probabilities, and the mean of those of `ecmf` and `late`, with its score on held-out
clips. WAF is the mean over the seeds; the interval comes from drawing actors (on MOSI clips) with
replacement, paired with `baseline`. Seconds are processor time of one training over that of
`baseline`, from a few epochs; idle is the share of a fusion's parameters without a gradient
(`ecmf members fusion`).

Claims: on RAVDESS, both ways, the best fusion is above the product of the classifiers by more than
the interval of the difference; `ecmf` is nowhere below `baseline` beyond the interval.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from support.comparison import (
    Confusions,
    TestProbabilities,
    Variant,
    bootstrap_scores,
    confusions,
    count,
    difference,
    log,
    seed_scores,
    table,
)
from support.corpora import Corpus, load_corpora
from support.late_fusion import PRODUCT, predict_late_fusions
from support.tuned_training import CANDIDATES, Trainings

from ecmf import registry
from ecmf.metrics import INTERVAL
from ecmf.params import TrainFusion
from ecmf.training.dataset import Dataset
from ecmf.training.fold_runs import plan_runs
from ecmf.training.idle_parameters import find_idle
from ecmf.training.source_reading import read_sources
from ecmf.training.trainer import fit

SEEDS = (0, 1, 2)
BASELINE, ECMF, LATE = "baseline", "ecmf", "late"
ALL, BOTH = "mean of all fusions", "mean of ecmf and late"
TUNED = ("sample", "RAVDESS")
ABLATION_CORPORA = TUNED
SHORT = (2, 4)
"""Epochs of the two trainings by which the time of a whole one is estimated."""

SWITCHES = ("self_attention", "residual", "weighting", "keep_original")


def fair(corpus: Corpus) -> Corpus:
    """Return the corpus with the seeds of this comparison."""
    return replace(corpus, training=corpus.training.model_copy(update={"seeds": SEEDS}))


def without_dropout(params: TrainFusion) -> TrainFusion:
    """Return the parameters without dropout of inputs."""
    return params.model_copy(update={"input_dropout": False})


class Member(NamedTuple):
    """What one fusion predicts on one corpus.

    `dropped` and `undropped` count its predictions of the clips held out in the training parts,
    with dropout of inputs and without, neither of them tuned; None where nothing is tuned.
    """

    probs: TestProbabilities
    dropped: Confusions | None = None
    undropped: Confusions | None = None


def train_member(corpus: Corpus, name: str) -> Member:
    """Tune and train one fusion; where it is tuned, also without dropout of inputs."""
    trainings = Trainings(corpus, name)
    outer = {run.fold.outer_fold for run in trainings.runs()}
    chosen = dict.fromkeys(outer, trainings.params)
    dropped = undropped = None
    if corpus.name in TUNED:
        chosen = trainings.tune()
        dropped, undropped = (
            together(trainings.count_inner(trainings.predict_inner(params)))
            for params in (trainings.params, without_dropout(trainings.params))
        )
        keys = [key for change in CANDIDATES for key in change]
        for fold, params in chosen.items():
            values = {key: getattr(params, key) for key in keys}
            log.info("%s, %s, test fold %d: chosen %s", corpus.name, name, fold, values)
    probs = trainings.predict_tests(chosen)
    scores = seed_scores(count(probs, corpus.clips, corpus.classes))
    log.info("%s, %s: WAF by seed %s", corpus.name, name, scores.round(3).tolist())
    return Member(probs, dropped, undropped)


def inner_scores_of_both(corpus: Corpus) -> dict[str, Confusions]:
    """Count the predictions of held-out clips by `ecmf`, by `late` and by their mean."""
    members = [Trainings(corpus, name) for name in (ECMF, LATE)]
    probs = [each.predict_inner(each.params) for each in members]
    both = [np.mean(pair, axis=0) for pair in zip(*probs, strict=True)]
    named = {ECMF: probs[0], LATE: probs[1], BOTH: both}
    return {name: together(members[0].count_inner(each)) for name, each in named.items()}


def together(cells: Confusions) -> Confusions:
    """Add up the counts of all runs: a draw of groups may hold no clip of a single run."""
    return cells.sum(axis=0, keepdims=True)


class Cost(NamedTuple):
    """Size of a fusion, its share of idle parameters, and processor time of one training."""

    parameters: int
    idle: float
    seconds: float


def measure_costs(corpus: Corpus, names: Sequence[str]) -> dict[str, Cost]:
    """Return what each fusion costs; a training's time is extrapolated from two short ones."""
    fold = plan_runs(corpus.clips, corpus.training)[0].fold
    costs = {}
    for name in names:
        params = corpus.training.of_member(name)
        sources = read_sources(dict(corpus.paths), corpus.clips, params)
        dataset = Dataset(sources, torch.device("cpu"))
        times = []
        for epochs in (1, *SHORT):  # the first warms up
            start = time.process_time()
            short = params.model_copy(update={"epochs": epochs})
            model = fit(dataset, corpus.targets, fold, 0, short).model
            times.append(time.process_time() - start)
        per_epoch = (times[2] - times[1]) / (SHORT[1] - SHORT[0])
        seconds = times[1] + per_epoch * (params.epochs - SHORT[0])
        size = sum(parameter.numel() for parameter in model.parameters())
        idle = find_idle(dataset, corpus.targets, fold.train, params).share
        costs[name] = Cost(size, idle, seconds)
    return costs


def log_estimate(corpora: Sequence[Corpus], names: Sequence[str]) -> None:
    """Log the hours of processor time of all trainings, by corpus and by fusion."""
    total = 0.0
    for corpus in corpora:
        folds = len(plan_runs(corpus.clips, corpus.training)) // len(SEEDS)
        trainings = float(len(SEEDS))
        if corpus.name in TUNED:  # candidates, and one without dropout, train on half the clips
            trainings += (len(CANDIDATES) + 1) / 2
        costs = measure_costs(corpus, names)
        hours = {name: cost.seconds * folds * trainings / 3600 for name, cost in costs.items()}
        total += sum(hours.values())
        log.info("%s: %.2f hours at most", corpus.name, sum(hours.values()))
        for name, value in sorted(hours.items(), key=lambda item: -item[1]):
            log.info("  %s %.2f (%.1f s a training)", name, value, costs[name].seconds)
    log.info("all: %.1f hours of processor time", total)


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
    changes["without dropout of inputs"] = {"input_dropout": False}
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
    members = {name: train_member(corpus, name) for name in names}
    probs = {name: member.probs for name, member in members.items()}
    probs[BOTH] = probs[ECMF] + probs[LATE]
    probs[ALL] = np.sum([probs[name] for name in names], axis=0)
    probs |= predict_late_fusions(corpus, same_folds=True)
    results = {name: count(p, corpus.clips, corpus.classes) for name, p in probs.items()}
    log.info(
        "### %s, %d clips\n%s",
        corpus.name, len(corpus.clips),
        "\n".join(lines_of(members, results, measure_costs(corpus, names))),
    )  # fmt: skip
    for name, cells in (inner := inner_scores_of_both(corpus)).items():
        score = seed_scores(cells).mean()
        log.info("held out: %s %.3f, against %s %s", name, score, ECMF, gain(cells, inner[ECMF]))
    return check_claims(corpus, names, results)


def lines_of(
    members: Mapping[str, Member],
    results: Mapping[str, Confusions],
    costs: Mapping[str, Cost],
) -> list[str]:
    """Write Markdown: a line per fusion and reference."""
    lines = [
        f"| | WAF | 95 % interval | against {BASELINE} | held out: with dropout of inputs, without "
        "| its effect | idle | parameters | seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, cells in results.items():
        low, high = np.percentile(bootstrap_scores(cells), INTERVAL)
        against = "" if name == BASELINE else gain(cells, results[BASELINE])
        line = f"| {name} | {seed_scores(cells).mean():.3f} | {low:.3f} to {high:.3f} | {against} |"
        member, cost = members.get(name), costs.get(name)
        if member and member.dropped is not None and member.undropped is not None:
            both = (seed_scores(each).mean() for each in (member.dropped, member.undropped))
            line += " {:.3f}, {:.3f} |".format(*both)
            line += f" {gain(member.dropped, member.undropped)} |"
        else:
            line += " | |"
        if cost:
            ratio = cost.seconds / costs[BASELINE].seconds
            line += f" {cost.idle:.0%} | {cost.parameters:,} | {ratio:.1f} |"
        else:
            line += " | | |"
        lines.append(line)
    return lines


def gain(results: Confusions, reference: Confusions) -> str:
    """Write the gain in WAF over the reference, with its 95 % interval."""
    mean, low, high = difference(results, reference)
    return f"{mean:+.3f}, {low:+.3f} to {high:+.3f}"


def check_claims(corpus: Corpus, names: Sequence[str], results: Mapping[str, Confusions]) -> bool:
    """Log the claims' differences; return whether they hold on this corpus."""
    log.info("%s against %s: %s", ECMF, BASELINE, gain(results[ECMF], results[BASELINE]))
    holds = difference(results[ECMF], results[BASELINE])[2] >= 0
    best = max(names, key=lambda name: seed_scores(results[name]).mean())
    for name in (best, BOTH, ALL):
        log.info("%s against the %s: %s", name, PRODUCT, gain(results[name], results[PRODUCT]))
    if corpus.name.startswith("RAVDESS"):
        holds &= difference(results[best], results[PRODUCT])[1] > 0
    return holds


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("corpora", nargs="*", help="corpora, and `ablation`; default: all")
    parser.add_argument("--members", help="fusions, separated by commas; default: all")
    parser.add_argument(
        "--estimate", action="store_true", help="print the time that it would take, and end"
    )
    return parser.parse_args()


def main() -> int:
    """Print all tables; return 1 if a claim does not hold."""
    given = parse_arguments()
    asked = given.members.split(",") if given.members else registry.names("fusion")
    chosen = {registry.check_name("fusion", name) for name in asked} | {BASELINE, ECMF, LATE}
    members = [BASELINE, *sorted(chosen - {BASELINE})]
    names = [name for name in given.corpora if name != "ablation"]
    with tempfile.TemporaryDirectory() as folder:
        corpora = [fair(corpus) for corpus in load_corpora(names, Path(folder))]
        if given.estimate:
            log_estimate(corpora, members)
            return 0
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
