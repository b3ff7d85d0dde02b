"""Given labels and all other opinions -> labels. Only the training split changes."""

import logging
from collections import Counter
from pathlib import Path

import numpy as np

from ecmf import opinions as said
from ecmf import plugins, stage
from ecmf.enrichment import read_texts
from ecmf.features import load_sources
from ecmf.labels import Label, given_label, write_labels
from ecmf.manifest import Clip, classes_of, read_manifest
from ecmf.params import RefineLabels, Sources
from ecmf.refiners.base import Kind, Opinion

log = logging.getLogger(__name__)


def refine_labels(
    manifest: Path, text: Path, features: Path, labels: Path, params: RefineLabels, sources: Sources
) -> None:
    """Decide on the label of every clip of the training split; pass all others through.

    A corpus without test split is scored by cross-validation over its training split. There the
    models get no vote, for their votes would carry the labels of the clips to be tested.
    """
    clips = read_manifest(manifest)
    classes = classes_of(manifest, clips)
    refiner = plugins.create(
        "refiners", "Refiner", params.refiner, params.options.get(params.refiner, {})
    )
    train = np.array([i for i, clip in enumerate(clips) if clip.split == "train"], dtype="int64")
    wanted = set(refiner.reads)
    if "out_of_fold" in wanted and not any(clip.split == "test" for clip in clips):
        log.info("no test split: models get no vote, for the training clips will be tested in turn")
        wanted.remove("out_of_fold")
    opinions = _gather(clips, train, classes, wanted, text, sources.paths(features), params)
    decisions = iter(enumerate(refiner(opinions, classes)))
    rows = []
    for clip in clips:
        if clip.split != "train":
            decision = "untouched" if clip.label else clip.split
            rows.append(given_label(clip.clip_id, clip.label, classes, decision))
            continue
        row, made = next(decisions)
        label = classes[int(np.argmax(made.soft))]
        heard = _heard(opinions, row, classes)
        rows.append(Label(clip.clip_id, label, made.soft, made.weight, made.name, heard))
    write_labels(rows, classes, labels)
    log.info(
        "%s",
        ", ".join(f"{count} {name}" for name, count in Counter(r.decision for r in rows).items()),
    )


def _heard(opinions: dict[str, Opinion], row: int, classes: tuple[str, ...]) -> str:
    """What each source that has an opinion on this training clip finds most likely."""
    return " ".join(
        f"{name}={classes[int(opinion.shares[row].argmax())]}"
        for name, opinion in opinions.items()
        if opinion.shares[row].any()
    )


def _gather(
    clips: list[Clip],
    train: np.ndarray,
    classes: tuple[str, ...],
    wanted: set[Kind],
    text: Path,
    features: dict[str, Path],
    params: RefineLabels,
) -> dict[str, Opinion]:
    """Ask every source of the wanted kinds about the training clips."""
    training = [clips[i] for i in train]
    opinions = {
        "given": Opinion("given", said.as_shares([clip.label for clip in training], classes))
    }
    if "annotators" in wanted:
        opinions |= said.of_annotators(training, classes)
    if "out_of_fold" in wanted:
        for source in load_sources(features, [clip.clip_id for clip in clips]):
            opinions[source.name] = said.out_of_fold(
                source, clips, train, classes, params.folds, params.seed
            )
    if "text_cues" in wanted:
        polarity = {record.clip_id: record.polarity for record in read_texts(text)}
        opinions["text_cues"] = said.of_polarity(
            [polarity[clip.clip_id] for clip in training], classes
        )
    return opinions


if __name__ == "__main__":
    stage.main(refine_labels)
