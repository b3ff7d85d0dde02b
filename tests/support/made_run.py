"""The outputs of a run that `write_report` reads, written without training."""

from dataclasses import replace

import numpy as np
from trainings import PREPARATION

from ecmf.data.coverage import count_faces, count_states, read_states
from ecmf.data.enriched_text import EnrichedText, write_texts
from ecmf.data.label_table import Label, hard_label, write_labels
from ecmf.data.manifest import Clip, write_manifest
from ecmf.evaluation.baselines import compare_with
from ecmf.metrics import compute_metrics, weighted_f1
from ecmf.params import EvaluateFusion, TrainFusion, WriteReport
from ecmf.refinement.audit_metrics import audit
from ecmf.refinement.base import SourceVotes
from ecmf.refinement.vote_table import VoteTable, write_votes
from ecmf.storage.files import write_csv, write_json
from ecmf.storage.jpeg import encode_jpeg
from ecmf.storage.store import Layout, Rows, no_rows
from ecmf.storage.store_writer import StoreWriter
from ecmf.training.early_stopping import Epoch
from ecmf.training.learning_curves import write_curves
from ecmf.training.model_metadata import ModelMetadata, write_metadata
from write_report import write_report

IMAGES, AUDIO = Layout(jpeg=True), Layout(dtype="int16", rate=16_000)
SOURCES = ("face/mine", "audio/mine")


def make_clips(count, classes=("angry", "happy", "sad"), speakers=10):
    """Make clips of the classes in turn; three speakers of ten are the test split."""
    return [
        Clip(f"clip_{number:04}", speaker=f"s{number % speakers}", group=f"s{number % speakers}",
             split="test" if number % speakers < 3 else "train", language="en",
             label=classes[number % len(classes)], transcript=f"line {number}")
        for number in range(count)
    ]  # fmt: skip


def make_run(folder, clips, *, wrong_every=7, members=None, kinds=("majority",)):
    """Write the outputs of all stages for `clips`; every seventh prediction is wrong.

    Every third training clip is relabelled, and every seventh has no face. The baselines `kinds`
    all predict the first class.
    """
    classes = sorted({clip.label for clip in clips if clip.label})
    write_manifest(clips, folder / "manifest.csv")
    _write_media(folder, clips)
    texts = [
        EnrichedText(clip_id=clip.clip_id, raw=clip.transcript, language=clip.language,
                     enriched=clip.transcript, cues=("loud voice",), provider="lexicon",
                     prompt_version="1")
        for clip in clips
    ]  # fmt: skip
    write_texts(texts, folder / "text.jsonl")
    _write_labels(folder, clips, classes)
    _write_evaluation(folder, clips, classes, wrong_every, members or {}, kinds)
    stores = {name: folder / f"{name}.h5" for name in ("frames", "audio", "faces")}
    counts = count_states(read_states(stores, texts))
    faces = {**counts["faces"], **count_faces(stores["faces"])}
    write_json(folder / "coverage.json", {**counts, "faces": faces})
    training = TrainFusion(ensemble=tuple(members or {})[1:])
    metadata = ModelMetadata(
        corpus="manifest", outputs=classes, preparation=PREPARATION, voice_thresholds={},
        training=training, sources=[], members=[],
    )  # fmt: skip
    write_metadata(metadata, folder / "fusion")
    write_curves([[Epoch(1, 2.0, 0.3), Epoch(2, 1.0, 0.6)]], folder / "curves.csv")
    return folder


def render(folder, name="report.html", **params):
    """Run `write_report` on the files of `make_run`, and return the page."""
    names = ("manifest.csv", "frames.h5", "audio.h5", "faces.h5", "text.jsonl", "labels.csv",
             "votes.csv", "sources.json", "audit.json", "fusion", "curves.csv", "evaluation.json",
             "details.json", "predictions.csv", "coverage.json", name)  # fmt: skip
    write_report(*(folder / each for each in names), WriteReport(**params))
    return (folder / name).read_text(encoding="utf-8")


def _write_media(folder, clips):
    rng = np.random.default_rng(0)
    noise = [encode_jpeg(rng.integers(0, 255, (48, 64, 3), "uint8"), 90) for _ in range(8)]
    with (
        StoreWriter(folder / "frames.h5", IMAGES, {}) as frames,
        StoreWriter(folder / "faces.h5", IMAGES, {}) as faces,
        StoreWriter(folder / "audio.h5", AUDIO, {}) as audio,
    ):
        for number, clip in enumerate(clips):
            image = Rows([noise[number % 8]] * 4, np.arange(4.0))
            frames.append(clip.clip_id, image)
            without = no_rows(IMAGES, "empty", "no face found")
            faces.append(clip.clip_id, image if number % 7 else without)
            samples = rng.integers(-999, 999, 400, "int16")
            audio.append(clip.clip_id, Rows(samples, np.arange(400) / 16_000))


def _write_labels(folder, clips, classes):
    training = [clip for clip in clips if clip.split == "train"]
    given = np.array([np.eye(len(classes))[classes.index(clip.label)] for clip in training])
    others = np.roll(given, 1, axis=1)
    doubted = np.arange(len(training)) % 3 == 0
    fusion = np.where(doubted[:, None], 0.3 * given + 0.7 * others, 0.9 * given + 0.1 * others)
    votes = {"given": SourceVotes("given", given), "fusion": SourceVotes("out_of_fold", fusion)}
    table = VoteTable([clip.clip_id for clip in training], votes, [])
    write_votes(table, classes, folder / "votes.csv", folder / "sources.json")
    relabelled = {
        clip.clip_id: Label(clip.clip_id, classes[soft.argmax()], tuple(map(float, soft)), 1.0,
                            "relabelled", "outvoted")
        for clip, soft, changed in zip(training, others, doubted, strict=True) if changed
    }  # fmt: skip
    labels = [
        relabelled.get(clip.clip_id, hard_label(clip.clip_id, clip.label, classes, "kept"))
        for clip in clips
    ]
    labels = [
        label if clip.split == "train" else replace(label, decision="untouched")
        for clip, label in zip(clips, labels, strict=True)
    ]
    write_labels(labels, classes, folder / "labels.csv")
    write_json(folder / "audit.json", audit(labels, table, classes))


def _write_evaluation(folder, clips, classes, wrong_every, members, kinds):
    truth = np.array([classes.index(clip.label) for clip in clips])
    predicted = (truth + (np.arange(len(clips)) % wrong_every == 0)) % len(classes)
    rows = [["clip_id", "split", "label", "predicted", *(f"probability_{c}" for c in classes),
             *(f"weight_{name}" for name in SOURCES), "sources"]]  # fmt: skip
    for clip, label in zip(clips, predicted, strict=True):
        probs = np.full(len(classes), 0.2 / max(len(classes) - 1, 1))
        probs[label] = 0.8
        numbers = (f"{value:.6f}" for value in [*probs, 0.7, 0.3])
        rows.append([clip.clip_id, clip.split, clip.label, classes[label], *numbers, "2"])
    write_csv(folder / "predictions.csv", rows)
    test = [i for i, clip in enumerate(clips) if clip.split == "test"]
    groups = [clips[i].group for i in test]
    scores = compute_metrics(truth[test], predicted[test], groups, classes, 200, 0)
    constant = dict.fromkeys(kinds, np.zeros_like(truth[test]))
    params = EvaluateFusion(bootstrap=200)
    baselines = compare_with(constant, truth[test], predicted[test], groups, classes, params)
    if "source" in baselines:
        baselines["source"]["name"] = SOURCES[0]
    details = {
        "protocol": "test split",
        "baselines": baselines,
        "test": {"groups": len(set(groups)),
                 "waf_by_seed": {"0": weighted_f1(truth[test], predicted[test])}},
        "sources": {SOURCES[0]: {"difference": 0.2, "low": 0.1, "high": 0.3},
                    SOURCES[1]: {"difference": 0.01, "low": -0.1, "high": 0.1}},
        "left_out": {},
    }  # fmt: skip
    if members:
        details["members"] = {name: {"waf": value} for name, value in members.items()}
    write_json(folder / "evaluation.json", {"test": scores})
    write_json(folder / "details.json", details)
