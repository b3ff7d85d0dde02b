"""Corpora on which benchmarks compare fusions: clips, true labels, features, and a protocol."""

import csv
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from support.comparison import SEEDS, log, without_splits
from support.ravdess import encode, voices
from support.rows import Rows as RowsPerClip
from support.rows import with_rows

from decode_video import decode_video
from ecmf.data.manifest import Clip, classes_of, read_manifest, write_manifest
from ecmf.params import Branch, EncodeAudio, EncodeText, TrainFusion, load_params
from ecmf.refinement.label_sources import one_hot_labels
from ecmf.storage.files import sha256
from ecmf.storage.store import Layout, Rows
from ecmf.storage.store_writer import StoreWriter
from ecmf.training.targets import class_targets
from ecmf.training.task import Targets
from encode_audio import encode_audio
from encode_text import encode_text

Encoding = TypeVar("Encoding", EncodeAudio, EncodeText)

SAMPLE = Path("data/manifests/sample.csv")

SHARED = Path(os.environ.get("ECMF_SHARED", "../shared"))
"""Folder of RAVDESS, MOSI and the speech embedding; a corpus that is absent is skipped."""

WHISPER = os.environ.get("ECMF_WHISPER", "")
"""Folder written by `encode_whisper.py`; without it, `ravdess_whisper` is skipped."""


@dataclass(frozen=True)
class Corpus:
    """Clips, features and training parameters shared by all models of a comparison.

    `c_values` are the inverse regularisations C of the logistic regressions, by source.
    """

    name: str
    clips: Sequence[Clip]
    classes: Sequence[str]
    paths: Mapping[str, Path]
    training: TrainFusion
    c_values: Mapping[str, float]

    @property
    def targets(self) -> Targets:
        """True labels; clips without one have weight 0."""
        known = np.array([bool(clip.label) for clip in self.clips], "float32")
        labels = [clip.label for clip in self.clips]
        return class_targets(one_hot_labels(labels, self.classes).astype("float32"), known)

    @property
    def branches(self) -> list[str]:
        """Branches with features, in their order."""
        return list(dict.fromkeys(name.partition("/")[0] for name in self.paths))


def protocol(branches: Sequence[str], **changes: object) -> TrainFusion:
    """Train with five seeds on every training clip for all epochs, without early stopping."""
    return load_params().train_fusion.model_copy(
        update={"seeds": SEEDS, "folds": 0, "branches": tuple(branches), **changes}
    )


def true_labels() -> dict[str, str]:
    """Return the acted emotion of each clip of the sample corpus, by clip id."""
    with Path("data/truth/sample.csv").open(newline="", encoding="utf-8") as file:
        return {row["clip_id"]: row["emotion"] for row in csv.DictReader(file)}


def sample(folder: Path, rows: RowsPerClip = "sequence") -> Corpus:
    """Load the sample corpus, as `dvc repro` leaves it, with the acted emotions as labels.

    With `rows` "clip" its voices and texts are encoded again, into `folder`.
    """
    truth = true_labels()
    clips = without_splits(read_manifest(SAMPLE))
    clips = [replace(clip, label=truth[clip.clip_id] if clip.label else "") for clip in clips]
    paths = load_params().sources.paths(Path("data/features"))
    if rows == "clip":
        paths |= _sample_clip_vectors(folder)
    branches = list(dict.fromkeys(name.partition("/")[0] for name in paths))
    c_values = dict.fromkeys(paths, 0.01)
    training = protocol(branches, outer_folds=4)
    return Corpus("sample", clips, classes_of(SAMPLE, clips), paths, training, c_values)


def _sample_clip_vectors(folder: Path) -> dict[str, Path]:
    params = load_params()
    audio = _as_clip_vectors(params.encode_audio)
    text = _as_clip_vectors(params.encode_text)
    paths = {}
    for name in audio.encoders:
        paths[f"audio/{name}"] = folder / f"{name}.h5"
        encode_audio(name, Path("data/audio.h5"), paths[f"audio/{name}"], audio)
    for name in text.encoders:
        paths[f"text/{name}"] = folder / f"text_{name}.h5"
        encode_text(name, Path("data/text.jsonl"), paths[f"text/{name}"], text)
    return paths


def _as_clip_vectors(params: Encoding) -> Encoding:
    """Return the section of a stage with encoders of one row per clip."""
    encoders = {
        name: with_rows(choice.model_dump(), "clip") for name, choice in params.encoders.items()
    }
    return params.model_validate({"encoders": encoders})


def ravdess(folder: Path, rows: RowsPerClip = "sequence") -> Corpus:
    """Load RAVDESS: voices by librosa and the speech embedding, and action units; by actor."""
    data = SHARED / "data"
    units = data / "ravdess_au/ravdess_action_units.csv"
    manifest, paths = encode(data / "ravdess", units, SHARED / "models", folder, rows)
    clips = without_splits(read_manifest(manifest))
    c_values = {"face/action_units": 0.1, "audio/librosa": 0.01, "audio/speech": 0.01}
    training = protocol(("face", "audio"), outer_folds=4)
    return Corpus("RAVDESS", clips, classes_of(manifest, clips), paths, training, c_values)


def ravdess_by_speaker(folder: Path, rows: RowsPerClip = "sequence") -> Corpus:
    """Load RAVDESS with features standardised per speaker, without labels.

    The regressions have three times the C: of .3, 1, 3 and 10 times it was the best in inner folds
    of two training parts. The fusions keep their defaults.
    """
    corpus = ravdess(folder, rows)
    training = corpus.training.model_copy(update={"standardise": "speaker"})
    c_values = {name: 3 * c for name, c in corpus.c_values.items()}
    name = f"{corpus.name}-by-speaker"
    return replace(corpus, name=name, training=training, c_values=c_values)


def ravdess_whisper(folder: Path, rows: RowsPerClip = "sequence") -> Corpus:
    """Load RAVDESS with the encoder of Whisper base as a further source of voices."""
    corpus = ravdess(folder, rows)
    archive = Path(WHISPER, f"{rows}.npz")
    whisper = {"encoder": "imported", "path": str(archive), "sha256": sha256(archive)}
    params = EncodeAudio.model_validate({"encoders": {"whisper": whisper}})
    path = folder / "whisper.h5"
    encode_audio("whisper", folder / "audio.h5", path, params)
    paths = {**corpus.paths, "audio/whisper": path}
    c_values = {**corpus.c_values, "audio/whisper": 0.01}
    return replace(corpus, name=f"{corpus.name}-with-Whisper", paths=paths, c_values=c_values)


def nemo(folder: Path, rows: RowsPerClip = "sequence") -> Corpus:
    """Load nEMO: Polish voices by librosa and the speech embedding; 3 test folds of 2 speakers.

    Its texts are left out: every speaker says the same sentences in every emotion.
    """
    data, params = SHARED / "data/nemo", load_params()
    with (data / "nemo.csv").open(newline="", encoding="utf-8") as file:
        clips = [
            Clip(
                row["clip_id"], audio=str(data / row["audio"]), language=row["language"],
                speaker=row["speaker"], group=row["speaker"], label=row["label"],
            )
            for row in csv.DictReader(file)
        ]  # fmt: skip
    manifest, audio = folder / "nemo.csv", folder / "audio.h5"
    write_manifest(clips, manifest)
    decode_video(manifest, folder / "frames.h5", audio, params.decode_video)
    entries = {name: with_rows(each, rows) for name, each in voices(SHARED / "models").items()}
    encoders = EncodeAudio.model_validate({"encoders": entries})
    paths = {f"audio/{name}": folder / f"{name}.h5" for name in entries}
    for name in entries:
        encode_audio(name, audio, paths[f"audio/{name}"], encoders)
    training = protocol(("audio",), outer_folds=3)
    classes = tuple(sorted({clip.label for clip in clips}))
    return Corpus("nEMO", clips, classes, paths, training, dict.fromkeys(paths, 0.01))


def mosi(folder: Path, _: RowsPerClip = "clip") -> Corpus:
    """Load the published features of MOSI, one row per clip, with the official test rows."""
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
        with StoreWriter(path, Layout(rows.shape[1:]), {"encoder": name}) as out:
            for clip, row in zip(clips, rows, strict=True):
                out.append(clip.clip_id, Rows(row[None], np.zeros(1)))
    training = protocol(list(branches.values()))
    return Corpus("MOSI", clips, classes, paths, training, dict.fromkeys(paths, 0.01))


CORPORA = {
    "sample": sample,
    "ravdess": ravdess,
    "ravdess_by_speaker": ravdess_by_speaker,
    "ravdess_whisper": ravdess_whisper,
    "nemo": nemo,
    "mosi": mosi,
}


def load_corpora(
    names: Sequence[str], folder: Path, rows: RowsPerClip = "sequence"
) -> list[Corpus]:
    """Load the named corpora, or all, into `folder`; absent ones are logged and skipped."""
    if unknown := set(names) - set(CORPORA):
        sys.exit(f"no corpus {', '.join(sorted(unknown))}: choose from {', '.join(CORPORA)}")
    corpora = []
    for name in names or CORPORA:
        data = SHARED / "data" / name.partition("_")[0]
        if name != "sample" and not data.is_dir():
            log.info("%s is skipped: there is no %s", name, data)
            continue
        if name == "ravdess_whisper" and not WHISPER:
            log.info("%s is skipped: set ECMF_WHISPER, see encode_whisper.py", name)
            continue
        (folder / name / rows).mkdir(parents=True, exist_ok=True)
        corpora.append(CORPORA[name](folder / name / rows, rows))
    return corpora
