"""Compare label refiners on RAVDESS with 20 % and 40 % of the training labels flipped.

`python benchmarks/refine_ravdess.py <RAVDESS folder> <csv of action units>`, from the project's
root. The sources are voices and facial action units. Labels are flipped to any other class, or only
to classes that are often confused; there are no annotators, so refiners have the given label and
models. 8 splits by actor (twice in fourths); labels of the test actors are true. Ends with 1 if the
default refiner loses to clean labels left as they are by more than the interval.
"""

import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from support.comparison import bootstrap_scores, log, seed_scores, without_splits
from support.ravdess import encode
from support.refinement import (
    CLEAN,
    NOISY,
    Study,
    Variant,
    draw_other_class,
    make_splits,
    run,
    table,
)

from ecmf.data.manifest import classes_of, read_manifest
from ecmf.metrics import INTERVAL
from ecmf.params import EnrichText, TranscribeSpeech, load_params
from enrich_text import enrich_text
from transcribe_speech import transcribe_speech

REPEATS, FOLDS, INNER_FOLDS = 2, 4, 4
CONFUSED_CLASSES = (
    ("sad", "neutral", "calm"),
    ("angry", "disgust", "fearful"),
    ("happy", "surprised"),
)
DEFAULT = "default"

BRANCHES = {"agreement": {"sources": ["audio/librosa", "face/action_units"]}}
FUSION = {"agreement": {"sources": ["fusion"]}}
REFINERS = [
    Variant("vote, models count twice",
            {"refiner": "vote", "options": {"vote": {"out_of_fold": 2.0}}}),
    Variant("agreement of voice and face", {"refiner": "agreement", "options": BRANCHES}),
    Variant("agreement with the fusion", {"refiner": "agreement", "options": FUSION}),
    Variant("dawid_skene, models too",
            {"refiner": "dawid_skene", "options": {"dawid_skene": {"models": True}}}),
    Variant("confident_learning", {"refiner": "confident_learning"}),
    Variant("confident_learning, softened",
            {"refiner": "confident_learning", "disagreement": "soften"}),
    Variant("confident_learning, dropped",
            {"refiner": "confident_learning", "disagreement": "drop"}),
]  # fmt: skip


def draw_confused_class(label: str, rng: np.random.Generator) -> str:
    """Draw another class among those often confused with this one."""
    (group,) = (names for names in CONFUSED_CLASSES if label in names)
    return draw_other_class(label, group, rng)


def main(corpus: str, action_units: str) -> int:
    """Print a table for clean labels and for each way of flipping them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest, paths = encode(Path(corpus), Path(action_units), None, folder)
        clips = without_splits(read_manifest(manifest))
        classes = classes_of(manifest, clips)
        texts, transcripts = folder / "text.jsonl", folder / "transcripts.jsonl"
        transcribe_speech(manifest, folder / "audio.h5", transcripts, TranscribeSpeech())
        enrich_text(manifest, transcripts, folder / "audio.h5", folder / "faces.h5", folder, texts,
                    EnrichText(facts=False))  # fmt: skip
        params = load_params()
        training = params.train_fusion.model_copy(update={"seeds": (0,), "folds": INNER_FOLDS})
        truth = {clip.clip_id: clip.label for clip in clips}
        default = Variant(DEFAULT, params.refine_labels.model_dump(mode="json"))

        def study(variants: list[Variant]) -> Study:
            return Study(clips, classes, paths, texts, training, variants, truth, trainings=1)

        noisy_labels = Variant(NOISY, {"refiner": "keep"})
        clean = Variant(CLEAN, {"refiner": "keep"}, true_labels=True)
        results, counts = run(
            study([clean, default, *REFINERS]),
            make_splits(clips, REPEATS, FOLDS, 0.0, draw_other_class),
        )
        log.info("### clean labels\n%s", table(results, counts, CLEAN))
        for kind, other in (
            ("to any other class", partial(_draw_any, classes=classes)),
            ("along usual confusions", draw_confused_class),
        ):
            for fraction in (0.2, 0.4):
                noisy, noisy_counts = run(
                    study([clean, noisy_labels, default, *REFINERS]),
                    make_splits(clips, REPEATS, FOLDS, fraction, other),
                )
                log.info("### %.0f %% flipped %s\n%s", 100 * fraction, kind,
                         table(noisy, noisy_counts, NOISY))  # fmt: skip
    losses = bootstrap_scores(results[CLEAN]) - bootstrap_scores(results[DEFAULT])
    mean = seed_scores(results[CLEAN]).mean() - seed_scores(results[DEFAULT]).mean()
    low, high = np.percentile(losses, INTERVAL)
    log.info("on clean labels the default refiner loses %.3f (%.3f to %.3f)", mean, low, high)
    return int(low > 0)


def _draw_any(label: str, rng: np.random.Generator, *, classes: tuple[str, ...]) -> str:
    return draw_other_class(label, classes, rng)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
