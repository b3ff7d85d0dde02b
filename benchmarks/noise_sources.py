"""Compare training beside two sources of noise: with them, without them, and by choice.

    python benchmarks/noise_sources.py [--seeds N] [--members A,B] [sample] [ravdess] [meld]

Two sources of random numbers are added to a corpus: 64 columns, 8 rows a clip, in the branch of
sound. Each member is trained with all sources, with the real ones alone (the best subset), and with
`choose_sources`. The sample (after `dvc repro`) and RAVDESS have their true labels and are tested
in 4 folds by actor, each with 3 inner folds and `refit`; MELD has its official splits and the
preset `meld`, text alone. Intervals are over actors or dialogues. Finished trainings are cached, so
a killed comparison resumes.

Claim: with `choose_sources`, no member is below its training without noise beyond the interval.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import compare_meld
import numpy as np
from support import corpora
from support.comparison import (
    Variant,
    bootstrap_scores,
    confusions,
    log,
    table,
)
from support.corpora import SHARED, Corpus

from ecmf.data.manifest import classes_of, read_manifest
from ecmf.metrics import INTERVAL
from ecmf.storage.store import Layout, Rows
from ecmf.storage.store_writer import StoreWriter

NOISE, DIM, ROWS = 2, 64, 8
INNER_FOLDS = 3
REFERENCE, CHOSEN = "without noise", "with noise, sources chosen"


def add_noise(corpus: Corpus, folder: Path) -> dict[str, Path]:
    """Write the sources of noise, and return all sources of the corpus."""
    rng = np.random.default_rng(0)
    paths = dict(corpus.paths)
    for number in range(NOISE):
        path = folder / f"noise{number}.h5"
        with StoreWriter(path, Layout((DIM,)), {"encoder": f"noise {number}"}) as out:
            for clip in corpus.clips:
                values = rng.standard_normal((ROWS, DIM)).astype("float32")
                out.append(clip.clip_id, Rows(values, np.arange(ROWS, dtype="float64")))
        paths[f"audio/noise{number}"] = path
    return paths


def compare(corpus: Corpus, member: str, folder: Path) -> bool:
    """Print the table of one member, and return whether the claims hold."""
    noisy = add_noise(corpus, folder)
    training = corpus.training.model_copy(
        update={
            "model": member,
            "branches": tuple(dict.fromkeys([*corpus.branches, "audio"])),
        }
    )
    variants = [(REFERENCE, corpus.paths, False), ("with noise", noisy, False)]
    results = {
        name: confusions(
            Variant(name, training.model_copy(update={"choose_sources": choose}), paths),
            corpus.clips,
            corpus.classes,
            corpus.targets,
        )
        for name, paths, choose in [*variants, (CHOSEN, noisy, True)]
    }
    log.info("### %s: %s\n%s", corpus.name, member, table(results, REFERENCE))
    difference = bootstrap_scores(results[CHOSEN]) - bootstrap_scores(results[REFERENCE])
    return bool(np.percentile(difference, INTERVAL)[1] >= 0)


def load(name: str, seeds: Sequence[int], folder: Path) -> Corpus:
    """Load a corpus with inner folds."""
    if name == "meld":
        manifest, texts = compare_meld.encode(SHARED / "data/meld", folder, ("raw",))
        clips = read_manifest(manifest)
        training = compare_meld.training(seeds)
        paths = {f"text/{text}": path for text, path in texts.items()}
        return Corpus("MELD", clips, classes_of(manifest, clips), paths, training, {})
    corpus = getattr(corpora, name)(folder)
    folds = {"seeds": tuple(seeds), "folds": INNER_FOLDS}
    return replace(corpus, training=corpus.training.model_copy(update=folds))


def main() -> int:
    """Print all tables; return 1 if a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("corpora", nargs="*", default=["sample", "ravdess", "meld"])
    parser.add_argument("--seeds", type=int, default=3, help="trainings per fold")
    parser.add_argument("--members", default="ecmf,late,concat", help="comma-separated")
    given = parser.parse_args()
    holds = True
    with tempfile.TemporaryDirectory() as temporary:
        for name in given.corpora:
            folder = Path(temporary) / name
            folder.mkdir()
            if name != "sample" and not (SHARED / "data" / name).is_dir():
                log.info("%s is skipped: it is not in %s", name, SHARED)
                continue
            corpus = load(name, range(given.seeds), folder)
            for member in given.members.split(","):
                holds &= compare(corpus, member, folder)
    return int(not holds)


if __name__ == "__main__":
    sys.exit(main())
