"""Every fusion of the folder under one protocol: the same features, folds, seeds and epochs.

    python benchmarks/compare_fusion.py [sample] [ravdess] [ravdess_by_speaker] [mosi] [ablation]

Without names all corpora, and the ablation of `ecmf` on the first two. Each member has its own
defaults for its inside, and the training of `params.yaml` but for what `corpora.protocol` says:
5 seeds, fixed epochs, no early stopping, so that all learn from the same clips; nothing is tuned
here. Beside them stand the mean and the product of logistic regressions, one per source, and the
mean of all members' probabilities. WAF is the mean over the seeds; the interval comes from drawing
actors (on MOSI clips) with replacement, and the difference to `baseline` is drawn together with it.
Seconds are processor time of one training over that of `baseline`.

Wanted: on RAVDESS, either way, the best member is above the product of the classifiers by more than
the interval of the difference; `ecmf` is nowhere below `baseline` beyond the interval.
"""

import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from support.comparison import (
    Answers,
    Confusions,
    Variant,
    answers,
    confusions,
    count,
    drawn_scores,
    log,
    seed_scores,
    table,
)
from support.corpora import Corpus, prepared
from support.rivals import PRODUCT, classifiers

from ecmf import registry
from ecmf.metrics import INTERVAL
from ecmf.params import TrainFusion
from ecmf.training.cross_validation import plan, read_sources
from ecmf.training.dataset import Dataset
from ecmf.training.trainer import fit

BASELINE, ALL = "baseline", "all members, equal votes"
ABLATED = ("sample", "RAVDESS")
SWITCHES = ("self_attention", "residual", "weighting", "keep_original")


def members(corpus: Corpus) -> dict[str, Answers]:
    """Train every member; the baseline comes first."""
    names = sorted(registry.names("fusion"), key=lambda name: (name != BASELINE, name))
    said = {}
    for name in names:
        params = corpus.training.model_copy(update={"model": name})
        variant = Variant(f"{corpus.name}: {name}", params, corpus.paths)
        (said[name],) = answers(variant, corpus.clips, corpus.classes, corpus.targets)
    return said


def costs(corpus: Corpus, names: list[str]) -> dict[str, tuple[int, float]]:
    """Parameters of each member, and processor time of one training over the baseline's."""
    training = corpus.training.model_copy(update={"epochs": 3})
    dataset = Dataset(read_sources(dict(corpus.paths), corpus.clips, training), torch.device("cpu"))
    fold = plan(corpus.clips, training)[0].fold

    def measured(params: TrainFusion) -> tuple[int, float]:
        start = time.process_time()
        model = fit(dataset, corpus.targets, fold, 0, params).model
        seconds = time.process_time() - start
        return sum(parameter.numel() for parameter in model.parameters()), seconds

    measured(training.model_copy(update={"model": BASELINE}))  # the first one pays for warming up
    found = {}
    for name in names:
        params = training.model_copy(update={"model": name})
        (_, before), (count_, own), (_, after) = (
            measured(params.model_copy(update={"model": each}))
            for each in (BASELINE, name, BASELINE)
        )
        found[name] = count_, own / ((before + after) / 2)
    return found


def ablation(corpus: Corpus) -> dict[str, Confusions]:
    """`ecmf` whole, with each part switched off, and without each branch."""
    own = corpus.training.options["ecmf"]
    changes: dict[str, Mapping[str, object]] = {"ecmf": {}}
    for switch in SWITCHES:
        name = f"without {switch}" + (" and source_loss" if switch == "keep_original" else "")
        changes[name] = {"options": {**corpus.training.options, "ecmf": {**own, switch: False}}}
    changes["without source_loss"] = {
        "options": {**corpus.training.options, "ecmf": {**own, "source_loss": 0.0}}
    }
    for branch in corpus.branches:
        left = tuple(each for each in corpus.branches if each != branch)
        changes[f"without {branch}"] = {"branches": left}
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


def difference(
    results: Mapping[str, Confusions], name: str, rival: str
) -> tuple[float, float, float]:
    """Gain of one over another, and its 95 % interval."""
    gain = seed_scores(results[name]).mean() - seed_scores(results[rival]).mean()
    low, high = np.percentile(drawn_scores(results[name]) - drawn_scores(results[rival]), INTERVAL)
    return float(gain), float(low), float(high)


def compare(corpus: Corpus) -> bool:
    """Print the table of a corpus; tell whether the claims hold there."""
    said = members(corpus)
    names = list(said)
    said[ALL] = np.sum([said[name] for name in names], axis=0)
    said |= classifiers(corpus)
    results = {name: count(each, corpus.clips, corpus.classes) for name, each in said.items()}
    cost = costs(corpus, names)
    lines = table(results, rival=BASELINE).splitlines()
    lines[0] += " parameters | seconds |"
    lines[1] += "---|---|"
    for number, name in enumerate(results, start=2):
        parameters, seconds = cost.get(name, (0, 0.0))
        lines[number] += f" {parameters:,} | {seconds:.1f} |" if parameters else " | |"
    log.info("### %s, %d clips\n%s", corpus.name, len(corpus.clips), "\n".join(lines))
    holds = True
    gain, low, high = difference(results, "ecmf", BASELINE)
    if high < 0:
        log.info("ecmf is below baseline by %.3f (%.3f to %.3f)", gain, low, high)
        holds = False
    best = max(names, key=lambda name: seed_scores(results[name]).mean())
    for name in (best, ALL):
        gain, low, high = difference(results, name, PRODUCT)
        log.info("%s against the %s: %+.3f (%+.3f to %+.3f)", name, PRODUCT, gain, low, high)
        if name == best and corpus.name.startswith("RAVDESS"):
            holds &= low > 0
    return holds


def main(names: list[str]) -> int:
    """Print all tables; 1 where a claim does not hold."""
    wanted = [name for name in names if name != "ablation"]
    with tempfile.TemporaryDirectory() as folder:
        corpora = prepared(wanted, Path(folder))
        holds = True
        if not names or wanted:
            for corpus in corpora:
                holds &= compare(corpus)
        if not names or "ablation" in names:
            for corpus in corpora:
                if corpus.name not in ABLATED:
                    log.info("no ablation on %s, only on %s", corpus.name, " and ".join(ABLATED))
                else:
                    log.info("### ecmf on %s\n%s", corpus.name, table(ablation(corpus), "ecmf"))
    return int(not holds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
