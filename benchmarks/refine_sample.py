"""Sample corpus, 20 % of the training labels wrong: how much of the loss does refinement regain?

Run after `make repro`, from the project's root: `python benchmarks/refine_sample.py`. 12 splits by
actor (24 actors, four times in thirds), labels made wrong anew each time, test labels true. Ends
with 1 if the given labels, annotators and models together do not regain half of the loss.
"""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from support.comparison import drawn_scores, log
from support.corpora import SAMPLE, true_labels
from support.refinement import (
    CLEAN,
    NOISY,
    Study,
    Variant,
    regained,
    run,
    share_regained,
    splits,
    table,
    uniform,
)

from ecmf.data.manifest import classes_of, read_manifest
from ecmf.metrics import INTERVAL
from ecmf.params import load_params

WRONG = 0.2
REPEATS, FOLDS = 4, 3
INNER_FOLDS = 3
WANTED = 0.5

PEOPLE = ("annotator_1", "annotator_2")
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
            {"refiner": "agreement", "options": {"agreement": {"sources": PEOPLE}}}),
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
             "pseudo_labels": {**ROUNDS, "threshold": 0.6, "least_gain": -1.0}}),
]  # fmt: skip


def main(names: list[str]) -> int:
    """Print the table; `names` choose some of its lines beside the rivals and the vote."""
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
        [one for one in VARIANTS
         if not names or one.name in ALWAYS or any(name in one.name for name in names)],
        truth,
    )  # fmt: skip
    chosen = splits(clips, REPEATS, FOLDS, WRONG, partial(_other, classes=classes))
    results, counts = run(study, chosen)
    log.info("%d splits by actor\n%s", len(chosen), table(results, counts, NOISY))
    if CLAIMED not in results:
        return 0
    share = share_regained(results, CLAIMED)
    low, high = np.percentile(regained(results, CLAIMED), INTERVAL)
    log.info("%s regains %.0f %% (%.0f to %.0f)", CLAIMED, 100 * share, 100 * low, 100 * high)
    if PSEUDO in results:
        gain = drawn_scores(results[PSEUDO]) - drawn_scores(results[CLAIMED])
        low, high = np.percentile(gain, INTERVAL)
        log.info("pseudo-labels gain %+.3f (%+.3f to %+.3f)", gain.mean(), low, high)
    return int(share < WANTED)


def _other(label: str, chance: np.random.Generator, *, classes: tuple[str, ...]) -> str:
    return uniform(label, classes, chance)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
