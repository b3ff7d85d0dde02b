"""Compare texts as sources: raw, enriched, both, and the probabilities of a language model.

    python benchmarks/compare_text.py [--seeds N] [--meld FOLDER] [sample] [meld]

Run after `dvc repro`, from the project's root. The sample corpus has its true labels and is tested
in 4 folds by actor, with text alone and beside the other branches; MELD has its official splits,
the preset `meld` and text alone. `ecmf` is trained with the same folds and seeds on each set of
sources; intervals are over actors or dialogues. Finished trainings and texts are cached, so a
killed comparison resumes.

The provider is that of `params.yaml`, here the lexicon. A language model is compared by the same
command after `dvc exp run -S enrich_text.provider=openai …`: then its probabilities are further
lines, and the sample's refined labels are compared with and without its vote, beside which they
are a source. Prints tables and claims nothing.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import compare_meld
import numpy as np
from support import corpora
from support.comparison import Variant, confusions, log, table
from support.corpora import SHARED, Corpus, true_labels
from support.refinement import CLEAN, NOISY, Study, draw_other_class, make_splits
from support.refinement import Variant as Refinement
from support.refinement import run as refine
from support.refinement import table as refinement_table

from ecmf.data.enriched_text import EnrichedText, compose, read_texts, write_texts
from ecmf.data.manifest import classes_of, read_manifest
from ecmf.params import EncodeText, load_params
from encode_text import encode_text

RAW, ENRICHED, PROBABILITIES = "raw", "enriched", "probabilities"
BY_WORDS = "enriched_by_words"
"""Enriched text without nonverbal cues, which are the voice's and the face's and not the text's."""

TEXTS = (RAW, ENRICHED)
SAMPLE_TEXT = Path("data/text.jsonl")

LABEL_NOISE = 0.2
REPEATS, FOLDS, INNER_FOLDS = 4, 3, 3
"""Splits of the comparison of refined labels, as in `refine_sample.py`."""

REFINEMENTS = (
    Refinement(CLEAN, {"refiner": "keep"}, true_labels=True),
    Refinement(NOISY, {"refiner": "keep"}),
    Refinement("vote", {"refiner": "vote"}),
    Refinement("vote without the language model",
               {"refiner": "vote", "options": {"vote": {"llm": 0.0}}}),
)  # fmt: skip


def encode_sample(folder: Path) -> dict[str, Path]:
    """Encode the texts of the sample corpus by the encoders of `params.yaml`; return the stores."""
    encoders = load_params().encode_text.encoders
    entries = {entry.view: entry.model_dump() for entry in encoders.values()}
    encoding = EncodeText.model_validate({"encoders": {view: entries[view] for view in TEXTS}})
    paths = {name: folder / f"{name}.h5" for name in encoding.encoders}
    for name, path in paths.items():
        encode_text(name, SAMPLE_TEXT, path, encoding)
    paths[BY_WORDS] = folder / f"{BY_WORDS}.h5"
    by_words = [_by_words(record) for record in read_texts(SAMPLE_TEXT)]
    write_texts(by_words, folder / "by_words.jsonl")
    encode_text(ENRICHED, folder / "by_words.jsonl", paths[BY_WORDS], encoding)
    return {**paths, **encode_probabilities(SAMPLE_TEXT, folder)}


def encode_probabilities(text: Path, folder: Path) -> dict[str, Path]:
    """Write the class probabilities of the texts as features, if they have any."""
    if not any(record.probabilities for record in read_texts(text)):
        return {}
    table = {"encoders": {PROBABILITIES: {"encoder": "llm_probabilities"}}}
    path = folder / f"{PROBABILITIES}.h5"
    encode_text(PROBABILITIES, text, path, EncodeText.model_validate(table))
    return {PROBABILITIES: path}


def _by_words(record: EnrichedText) -> EnrichedText:
    cues = [*record.cues, *filter(None, [record.paraphrase])]
    return record.model_copy(update={"enriched": compose(record.raw, cues, [])})


def combinations(texts: Iterable[str]) -> list[tuple[str, ...]]:
    """List the sets of text sources to compare, `raw` first."""
    sets: list[tuple[str, ...]] = [(RAW,), (ENRICHED,), TEXTS, (BY_WORDS,), (RAW, BY_WORDS)]
    sets += [(PROBABILITIES,), (RAW, PROBABILITIES), (*TEXTS, PROBABILITIES)]
    return [names for names in sets if set(names) <= set(texts)]


def compare(corpus: Corpus, texts: Mapping[str, Path], others: Mapping[str, Path]) -> None:
    """Train on each set of texts beside the `others`, and print the table."""
    results = {}
    for names in [*([()] if others else []), *combinations(texts)]:
        paths = {**others, **{f"text/{name}": texts[name] for name in names}}
        line = " and ".join(names) or "no text"
        branches = tuple(dict.fromkeys(name.partition("/")[0] for name in paths))
        params = corpus.training.model_copy(update={"branches": branches})
        variant = Variant(line, params, paths)
        results[line] = confusions(variant, corpus.clips, corpus.classes, corpus.targets)
    beside = ", ".join(others) or "text alone"
    log.info("### %s: %s\n%s", corpus.name, beside, table(results, reference=RAW))


def compare_votes(corpus: Corpus, paths: Mapping[str, Path], seeds: Sequence[int]) -> None:
    """Compare refined labels with and without the vote of the language model."""
    training = load_params().train_fusion.model_copy(
        update={"seeds": tuple(seeds[:1]), "folds": INNER_FOLDS}
    )
    study = Study(
        corpus.clips, corpus.classes, paths, SAMPLE_TEXT, training, REFINEMENTS, true_labels()
    )

    def other(label: str, rng: np.random.Generator) -> str:
        return draw_other_class(label, corpus.classes, rng)

    splits = make_splits(corpus.clips, REPEATS, FOLDS, LABEL_NOISE, other)
    results, counts = refine(study, splits)
    log.info("### refined labels\n%s", refinement_table(results, counts, NOISY))


def compare_sample(seeds: Sequence[int], folder: Path) -> None:
    """Compare on the sample corpus."""
    corpus = corpora.sample(folder)
    corpus = replace(corpus, training=corpus.training.model_copy(update={"seeds": tuple(seeds)}))
    texts = encode_sample(folder)
    others = {name: path for name, path in corpus.paths.items() if not name.startswith("text/")}
    compare(corpus, texts, {})
    compare(corpus, texts, others)
    if PROBABILITIES in texts:
        read = (*TEXTS, PROBABILITIES)
        sources = {**others, **{f"text/{name}": texts[name] for name in read}}
        compare_votes(corpus, sources, seeds)


def compare_on_meld(meld: Path, seeds: Sequence[int], folder: Path) -> None:
    """Compare on the text of MELD."""
    manifest, texts = compare_meld.encode(meld, folder, TEXTS)
    texts |= encode_probabilities(folder / "text.jsonl", folder)
    clips = read_manifest(manifest)
    training = compare_meld.training(seeds)
    corpus = Corpus("MELD", clips, classes_of(manifest, clips), {}, training, {})
    compare(corpus, texts, {})


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("corpora", nargs="*", help="sample, meld; default: both")
    parser.add_argument("--seeds", type=int, default=5, help="trainings per fold")
    parser.add_argument("--meld", type=Path, default=SHARED / "data/meld", help="MELD's csv files")
    given = parser.parse_args()
    seeds = range(given.seeds)
    with tempfile.TemporaryDirectory() as folder:
        if not given.corpora or "sample" in given.corpora:
            compare_sample(seeds, Path(folder))
        if given.corpora and "meld" not in given.corpora:
            return 0
        if given.meld.is_dir():
            compare_on_meld(given.meld, seeds, Path(folder))
        else:
            log.info("MELD is skipped: no folder %s", given.meld)
    return 0


if __name__ == "__main__":
    sys.exit(main())
