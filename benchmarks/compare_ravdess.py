"""RAVDESS speech: voices, and the facial action units of the same performances.

`python benchmarks/compare_ravdess.py <RAVDESS folder> <csv of action units>`, from the project's
root. Indexes, decodes and encodes into a folder of its own, then compares the fusions, each branch
alone, and two honest rivals: the mean and the product of two logistic regressions. Folds are by
actor; nothing is tuned on a test fold.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from comparison import SEEDS, Confusions, Variant, confusions, log, table, tested_in_turn
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from crop_faces import crop_faces
from decode_video import decode_video
from ecmf.features import Source, load_sources
from ecmf.files import sha256
from ecmf.indexing import index
from ecmf.manifest import Clip, classes_of, read_manifest, write_manifest
from ecmf.opinions import as_shares
from ecmf.params import EncodeAudio, EncodeFaces, load_params
from ecmf.splits import make_folds
from ecmf.training import Targets
from encode_audio import encode_audio
from encode_faces import encode_faces

TEST_FOLDS = 8
STRENGTH = {"audio": 0.01, "face": 0.1}
"""Inverse regularisation C of the logistic regressions, as in the published reference."""


def encode(corpus: Path, action_units: Path, folder: Path) -> tuple[Path, dict[str, Path]]:
    """Run the stages up to the features; returns the manifest and the feature files."""
    params = load_params()
    manifest = folder / "ravdess.csv"
    write_manifest(index("ravdess", corpus), manifest)
    frames, audio, faces = (folder / f"{name}.h5" for name in ("frames", "audio", "faces"))
    decode_video(manifest, frames, audio, params.decode_video)
    crop_faces(frames, faces, params.crop_faces)
    paths = {
        "face/action_units": folder / "action_units.h5",
        "audio/librosa": folder / "librosa.h5",
    }
    imported = {"member": "imported", "path": str(action_units), "sha256": sha256(action_units)}
    tables = (
        EncodeFaces.model_validate({"encoders": {"action_units": imported}}),
        EncodeAudio.model_validate({"encoders": {"librosa": {"member": "librosa"}}}),
    )
    encode_faces("action_units", faces, paths["face/action_units"], tables[0])
    encode_audio("librosa", audio, paths["audio/librosa"], tables[1])
    return manifest, paths


def classifiers(
    sources: Sequence[Source], clips: Sequence[Clip], classes: Sequence[str]
) -> tuple[Confusions, Confusions]:
    """Mean and product of one logistic regression per source, on the same test folds."""
    labels = np.array([classes.index(clip.label) for clip in clips])
    groups = sorted({clip.group for clip in clips})
    owner = np.array([groups.index(clip.group) for clip in clips])
    counted = np.zeros((2, len(SEEDS), len(groups), len(classes), len(classes)), "int64")
    for seed in SEEDS:
        folds = [fold for fold in make_folds(clips, 2, TEST_FOLDS, seed) if fold.fold == 0]
        for fold in folds:
            learn = np.setdiff1d(np.arange(len(clips)), fold.test)
            said = np.array([_said(source, labels, learn, fold.test) for source in sources])
            for way, joint in enumerate((said.mean(axis=0), said.prod(axis=0))):
                cells = (owner[fold.test], labels[fold.test], joint.argmax(axis=1))
                np.add.at(counted[way, SEEDS.index(seed)], cells, 1)
    return counted[0], counted[1]


def _said(
    source: Source, labels: NDArray[np.int64], learn: NDArray[np.int64], test: NDArray[np.int64]
) -> NDArray[np.float64]:
    values = source.clip_means()
    strength = STRENGTH[source.name.partition("/")[0]]
    regression = LogisticRegression(C=strength, max_iter=2000)
    known = learn[source.present[learn]]
    model = make_pipeline(StandardScaler(), regression).fit(values[known], labels[known])
    said = model.predict_proba(values[test])
    said[~source.present[test]] = 1 / said.shape[1]  # an absent source says nothing
    return np.asarray(said)


def main(corpus: str, action_units: str, *names: str) -> None:
    """Print the table; `names` choose some of its lines."""
    with tempfile.TemporaryDirectory() as folder:
        manifest, paths = encode(Path(corpus), Path(action_units), Path(folder))
        clips = tested_in_turn(read_manifest(manifest))
        classes = classes_of(manifest, clips)
        targets = Targets(
            as_shares([clip.label for clip in clips], classes).astype("float32"),
            np.ones(len(clips), "float32"),
        )
        common = load_params().train_fusion.model_copy(
            update={"seeds": SEEDS, "test_folds": TEST_FOLDS}
        )
        changes = {
            "concat": {"model": "concat"},
            "baseline": {"model": "baseline"},
            "ecmf": {"model": "ecmf"},
            "ecmf, audio alone": {"branches": ("audio",)},
            "ecmf, face alone": {"branches": ("face",)},
            "ecmf, standardised per speaker": {"standardise": "speaker"},
        }
        results = {
            name: confusions(
                Variant(name, common.model_copy(update=change), paths), clips, classes, targets
            )
            for name, change in changes.items()
            if not names or name in names
        }
        sources = load_sources(paths, [clip.clip_id for clip in clips])
        mean, product = classifiers(sources, clips, classes)
        results |= {"mean of two classifiers": mean, "product of two classifiers": product}
        log.info("%s", table(results, rival=next(iter(results))))


if __name__ == "__main__":
    main(*sys.argv[1:])
