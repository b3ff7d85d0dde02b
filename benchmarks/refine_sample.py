"""Compare label refiners on the sample corpus with 20 % of the training labels wrong.

Run after `make repro`, from the project's root: `python benchmarks/refine_sample.py`. 12 splits by
actor (24 actors, four times in thirds), each time with other label noise; test labels are true.
Ends with 1 if the given labels, annotators and models together do not regain half of the lost WAF.
"""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from support.comparison import bootstrap_scores, log
from support.corpora import SAMPLE, true_labels
from support.refinement import (
    CLEAN,
    NOISY,
    Study,
    Variant,
    bootstrap_regained,
    draw_other_class,
    fraction_regained,
    make_splits,
    run,
    table,
)

from ecmf.data.manifest import classes_of, read_manifest
from ecmf.metrics import INTERVAL
from ecmf.params import load_params

LABEL_NOISE = 0.2
REPEATS, FOLDS = 4, 3
INNER_FOLDS = 3
MIN_REGAINED = 0.5

ANNOTATORS = ("annotator_1", "annotator_2")
ROUNDS = {"rounds": 2}
CLAIMED, PSEUDO = "vote", "vote and pseudo-labels"
ALWAYS = (CLEAN, NOISY, CLAIMED)
VARIANTS = [
    Variant(CLEAN, {"refiner": "keep"}, true_labels=True),
    Variant(NOISY, {"refiner": "keep"}),
    Variant(CLAIMED, {"refiner": "vote"}),
    Variant("vote, weights by agreement",
            {"refiner": "vote", "options": {"vote": {"weights": "agreement"}}}),
    Variant("vote, softened", {"refiner": "vote", "disagreement": "soften"}),
    Variant("vote, dropped", {"refiner": "vote", "disagreement": "drop"}),
    Variant("dawid_skene", {"refiner": "dawid_skene"}),
    Variant("dawid_skene, models too",
            {"refiner": "dawid_skene", "options": {"dawid_skene": {"models": True}}}),
    Variant("agreement of two annotators",
            {"refiner": "agreement", "options": {"agreement": {"sources": ANNOTATORS}}}),
    Variant("models alone: agreement with the fusion",
            {"refiner": "agreement", "options": {"agreement": {"sources": ["fusion"]}}}),
    Variant("models alone: confident_learning", {"refiner": "confident_learning"}),
    Variant("models alone: confident_learning, dropped",
            {"refiner": "confident_learning", "disagreement": "drop"}),
    Variant("models alone: confident_learning, softened",
            {"refiner": "confident_learning", "disagreement": "soften"}),
    Variant(PSEUDO, {"refiner": "vote", "pseudo_labels": ROUNDS}),
    Variant("vote and pseudo-labels, threshold 0.6",
            {"refiner": "vote", "pseudo_labels": {**ROUNDS, "threshold": 0.6}}),
    Variant("vote and pseudo-labels, threshold 0.6, every round kept",
            {"refiner": "vote",
             "pseudo_labels": {**ROUNDS, "threshold": 0.6, "min_gain": -1.0}}),
]  # fmt: skip


def main(names: list[str]) -> int:
    """Print the table; `names` select variants besides the references and the vote."""
    params = load_params()
    clips = read_manifest(SAMPLE)
    classes = classes_of(SAMPLE, clips)
    truth = true_labels()
    clips = [replace(clip, label=truth[clip.clip_id] if clip.label else "") for clip in clips]
    study = Study(
        clips,
        classes,
        params.sources.paths(Path("data/features")),
        Path("data/text.jsonl"),
        params.train_fusion.model_copy(update={"seeds": (0,), "folds": INNER_FOLDS}),
        [variant for variant in VARIANTS
         if not names or variant.name in ALWAYS or any(name in variant.name for name in names)],
        truth,
    )  # fmt: skip
    splits = make_splits(clips, REPEATS, FOLDS, LABEL_NOISE, partial(_draw_other, classes=classes))
    results, counts = run(study, splits)
    log.info("%d splits by actor\n%s", len(splits), table(results, counts, NOISY))
    if CLAIMED not in results:
        return 0
    fraction = fraction_regained(results, CLAIMED)
    low, high = np.percentile(bootstrap_regained(results, CLAIMED), INTERVAL)
    log.info("%s regains %.0f %% (%.0f to %.0f)", CLAIMED, 100 * fraction, 100 * low, 100 * high)
    if PSEUDO in results:
        gains = bootstrap_scores(results[PSEUDO]) - bootstrap_scores(results[CLAIMED])
        low, high = np.percentile(gains, INTERVAL)
        log.info("pseudo-labels gain %+.3f (%+.3f to %+.3f)", gains.mean(), low, high)
    return int(fraction < MIN_REGAINED)


def _draw_other(label: str, rng: np.random.Generator, *, classes: tuple[str, ...]) -> str:
    return draw_other_class(label, classes, rng)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
