"""Compare sequences with one row per clip: the same encoders, folds and seeds, side by side.

    python benchmarks/compare_rows.py [--seeds 5] [sample] [ravdess] [ravdess_by_speaker]
        [ravdess_whisper]

Run after `dvc repro`, from the project's root. Voices have a row per window of time and texts a row
per token, or each has one row per clip; frames, faces and action units are the same in both. The
protocol is that of `compare_fusion.py`, for three fusions and for the product of logistic
regressions, one per source. Intervals are over actors; each gain is paired. Finished trainings are
cached, so a killed comparison resumes. Whisper is skipped where `encode_whisper.py` did not write
its features. Prints a table per corpus and claims nothing.
"""

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from support.comparison import (
    SEEDS,
    Confusions,
    Variant,
    bootstrap_scores,
    confusions,
    count,
    difference,
    log,
    seed_scores,
)
from support.corpora import Corpus, load_corpora
from support.late_fusion import PRODUCT, predict_late_fusions
from support.rows import Rows

from ecmf.metrics import INTERVAL

CORPORA = ("sample", "ravdess", "ravdess_by_speaker", "ravdess_whisper")
MEMBERS = ("ecmf", "baseline", "late")


def score(corpus: Corpus, rows: Rows) -> dict[str, Confusions]:
    """Train the fusions and the regressions, and count their predictions of test clips."""
    results = {}
    for name in MEMBERS:
        params = corpus.training.model_copy(update={"model": name})
        variant = Variant(f"{corpus.name}, {rows}: {name}", params, corpus.paths)
        results[name] = confusions(variant, corpus.clips, corpus.classes, corpus.targets)
    probs = predict_late_fusions(corpus)[PRODUCT]
    results[PRODUCT] = count(probs, corpus.clips, corpus.classes)
    return results


def gain(results: Confusions, reference: Confusions) -> str:
    """Write the gain in WAF over the reference, with its 95 % interval."""
    mean, low, high = difference(results, reference)
    return f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"


def waf(results: Confusions) -> str:
    """Write the mean WAF over the seeds, with its 95 % interval."""
    low, high = np.percentile(bootstrap_scores(results), INTERVAL)
    return f"{seed_scores(results).mean():.3f} ({low:.3f} to {high:.3f})"


def table(clip: Mapping[str, Confusions], sequence: Mapping[str, Confusions]) -> str:
    """Write Markdown: a line per model, with the gain by sequences and that over the product."""
    lines = [
        f"| WAF | a row per clip | sequences | gain | sequences, against the {PRODUCT} |",
        "|---|---|---|---|---|",
    ]
    for name in clip:
        against = "" if name == PRODUCT else gain(sequence[name], sequence[PRODUCT])
        lines.append(
            f"| {name} | {waf(clip[name])} | {waf(sequence[name])} | "
            f"{gain(sequence[name], clip[name])} | {against} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("corpora", nargs="*", default=CORPORA, help=", ".join(CORPORA))
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="trainings per fold")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        by_rows: dict[Rows, list[Corpus]] = {
            rows: load_corpora(given.corpora, Path(folder), rows) for rows in ("clip", "sequence")
        }
        for pair in zip(*by_rows.values(), strict=True):
            clip, sequence = (
                score(replace(corpus, training=corpus.training.model_copy(
                    update={"seeds": tuple(range(given.seeds))})), rows)
                for rows, corpus in zip(by_rows, pair, strict=True)
            )  # fmt: skip
            log.info("### %s\n%s", pair[0].name, table(clip, sequence))


if __name__ == "__main__":
    main()
