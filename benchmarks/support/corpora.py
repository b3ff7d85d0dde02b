"""The corpora that benchmarks compare fusions on: clips, true labels, features, and a protocol."""

import csv
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from support.comparison import SEEDS, log, tested_in_turn
from support.ravdess import encode

from ecmf.data.manifest import Clip, classes_of, read_manifest
from ecmf.params import Branch, TrainFusion, load_params
from ecmf.refinement.label_sources import as_shares
from ecmf.storage.store import Layout, Rows
from ecmf.storage.store_writer import StoreWriter
from ecmf.training.targets import Targets

SAMPLE = Path("data/manifests/sample.csv")

SHARED = Path(os.environ.get("ECMF_SHARED", "../shared"))
"""Where RAVDESS, MOSI and the speech embedding lie; a corpus that is absent is skipped."""


@dataclass(frozen=True)
class Corpus:
    """What all models of a comparison are given alike.

    `strengths` are the inverse regularisations C of the logistic regressions, by source.
    """

    name: str
    clips: Sequence[Clip]
    classes: Sequence[str]
    paths: Mapping[str, Path]
    training: TrainFusion
    strengths: Mapping[str, float]

    @property
    def targets(self) -> Targets:
        """The true labels; clips without one teach nothing."""
        known = np.array([bool(clip.label) for clip in self.clips], "float32")
        labels = [clip.label for clip in self.clips]
        return Targets(as_shares(labels, self.classes).astype("float32"), known)

    @property
    def branches(self) -> list[str]:
        """The branches there are features of, in their order."""
        return list(dict.fromkeys(name.partition("/")[0] for name in self.paths))


def protocol(branches: Sequence[str], **changes: object) -> TrainFusion:
    """Five seeds, every training clip learned from for all epochs, nothing stops it early."""
    return load_params().train_fusion.model_copy(
        update={"seeds": SEEDS, "folds": 0, "branches": tuple(branches), **changes}
    )


def true_labels() -> dict[str, str]:
    """What was really played in the embedded corpus, by clip id."""
    with Path("data/truth/sample.csv").open(newline="", encoding="utf-8") as file:
        return {row["clip_id"]: row["emotion"] for row in csv.DictReader(file)}


def sample(_: Path) -> Corpus:
    """The embedded corpus with the labels that were really played, as `dvc repro` leaves it."""
    manifest, played = SAMPLE, true_labels()
    clips = tested_in_turn(read_manifest(manifest))
    clips = [replace(clip, label=played[clip.clip_id] if clip.label else "") for clip in clips]
    paths = load_params().sources.paths(Path("data/features"))
    branches = list(dict.fromkeys(name.partition("/")[0] for name in paths))
    strengths = dict.fromkeys(paths, 0.01)
    training = protocol(branches, test_folds=4)
    return Corpus("sample", clips, classes_of(manifest, clips), paths, training, strengths)


def ravdess(folder: Path) -> Corpus:
    """Voices by librosa and the speech embedding, action units of the same faces; by actor."""
    data = SHARED / "data"
    units = data / "ravdess_au/ravdess_action_units.csv"
    manifest, paths = encode(data / "ravdess", units, SHARED / "models", folder)
    clips = tested_in_turn(read_manifest(manifest))
    strengths = {"face/action_units": 0.1, "audio/librosa": 0.01, "audio/speech": 0.01}
    training = protocol(("face", "audio"), test_folds=4)
    return Corpus("RAVDESS", clips, classes_of(manifest, clips), paths, training, strengths)


def ravdess_by_speaker(folder: Path) -> Corpus:
    """The same, every speaker standardised over that speaker's own clips, without labels.

    The regressions are given three times the C: of .3, 1, 3 and 10 times it was the best in inner
    folds of two training parts. The fusions keep their defaults.
    """
    corpus = ravdess(folder)
    training = corpus.training.model_copy(update={"standardise": "speaker"})
    strengths = {name: 3 * strength for name, strength in corpus.strengths.items()}
    name = f"{corpus.name}-by-speaker"
    return replace(corpus, name=name, training=training, strengths=strengths)


def mosi(folder: Path) -> Corpus:
    """Features made elsewhere, official test rows."""
    arrays = np.load(SHARED / "data/mosi/mosi_features.npz", allow_pickle=False)
    classes = ("negative", "positive")
    clips = [
        Clip(f"{split}_{row}", group=f"{split}_{row}", split=split, label=classes[label])
        for split in ("train", "test")
        for row, label in enumerate(arrays[f"{split}_label"])
    ]
    branches: dict[str, Branch] = {"text": "text", "audio": "audio", "video": "face"}
    paths = {f"{branch}/{name}": folder / f"{name}.h5" for name, branch in branches.items()}
    for name, path in zip(branches, paths.values(), strict=True):
        rows = np.concatenate([arrays[f"{split}_{name}"] for split in ("train", "test")])
        with StoreWriter(path, Layout(rows.shape[1:]), {"member": name}) as out:
            for clip, row in zip(clips, rows, strict=True):
                out.append(clip.clip_id, Rows(row[None], np.zeros(1)))
    training = protocol(list(branches.values()))
    return Corpus("MOSI", clips, classes, paths, training, dict.fromkeys(paths, 0.01))


CORPORA = {
    "sample": sample,
    "ravdess": ravdess,
    "ravdess_by_speaker": ravdess_by_speaker,
    "mosi": mosi,
}


def prepared(names: Sequence[str], folder: Path) -> list[Corpus]:
    """Make the named corpora ready in `folder`; of those that are absent, say so."""
    if unknown := set(names) - set(CORPORA):
        sys.exit(f"no corpus {', '.join(sorted(unknown))}: choose of {', '.join(CORPORA)}")
    found = []
    for name in names or CORPORA:
        place = SHARED / "data" / name.partition("_")[0]
        if name != "sample" and not place.is_dir():
            log.info("%s is left out: there is no %s", name, place)
            continue
        (folder / name).mkdir(parents=True, exist_ok=True)
        found.append(CORPORA[name](folder / name))
    return found
