from dataclasses import replace

import numpy as np
import pytest
from corpus import CLASSES, SOURCES, make_corpus
from tables import read_table

from ecmf import plugins
from ecmf.enrichment import EnrichedText, write_texts
from ecmf.labels import read_labels
from ecmf.manifest import WITHOUT_LABEL
from ecmf.opinions import of_polarity
from ecmf.params import RefineLabels
from ecmf.refiners.base import Opinion
from refine_labels import refine_labels

PARAMS = RefineLabels(refiner="vote", folds=3)


def refined(corpus, folder, params=PARAMS):
    path = folder / "labels.csv"
    refine_labels(corpus.manifest, corpus.text, corpus.features, path, params, SOURCES)
    return path, read_labels(path, [clip.clip_id for clip in corpus.clips], CLASSES)


def wrong(clip):
    """Every third clip of two speakers is mislabelled by the corpus, not by its annotators."""
    number = int(clip.clip_id.rpartition("_")[2]) if clip.label else 1
    if clip.speaker in ("s4", "s5") and number % 3 == 0:
        return replace(clip, label="sad")
    return clip


@pytest.mark.parametrize("refiner", plugins.names("refiners"))
def test_every_refiner_gives_every_clip_a_distribution_and_a_weight(refiner, tmp_path):
    corpus = make_corpus(tmp_path)
    _, labels = refined(corpus, tmp_path, RefineLabels(refiner=refiner, folds=3))
    for clip, label in zip(corpus.clips, labels, strict=True):
        assert sum(label.soft) == pytest.approx(1 if clip.label else 0)
        assert (label.weight > 0) == bool(clip.label)
        assert label.decision


@pytest.mark.parametrize("refiner", plugins.names("refiners"))
def test_validation_and_test_labels_pass_through_untouched(refiner, tmp_path):
    corpus = make_corpus(tmp_path, change=wrong)
    _, labels = refined(corpus, tmp_path, RefineLabels(refiner=refiner, folds=3))
    for clip, label in zip(corpus.clips, labels, strict=True):
        if clip.split in ("val", "test"):
            assert (label.label, label.decision, label.sources) == (clip.label, "untouched", "")


@pytest.mark.parametrize("split", WITHOUT_LABEL)
def test_a_clip_without_label_is_named_after_its_split_and_weighs_nothing(split, tmp_path):
    def moved(clip):
        return clip if clip.label else replace(clip, split=split)

    _, labels = refined(make_corpus(tmp_path, change=moved), tmp_path)
    wild = labels[-1]
    assert (wild.clip_id, wild.label, wild.weight, wild.decision) == ("wild", "", 0, split)
    assert not any(wild.soft)


@pytest.mark.parametrize("refiner", plugins.names("refiners"))
def test_validation_and_test_labels_move_no_byte_of_the_training_split(refiner, tmp_path):
    def shuffled(clip):
        turned = CLASSES[(CLASSES.index(clip.label) + 1) % 3] if clip.label else ""
        return replace(clip, label=turned) if clip.split in ("val", "test") else clip

    params = RefineLabels(refiner=refiner, folds=3)
    rows = []
    for name, change in (("as_is", lambda clip: clip), ("shuffled", shuffled)):
        (tmp_path / name).mkdir()
        path, _ = refined(make_corpus(tmp_path / name, change=change), tmp_path / name, params)
        lines = path.read_text().splitlines()
        rows.append([line for line in lines if line.split(",")[0].rpartition("_")[0] > "s3"])
    assert rows[0] == rows[1] and len(rows[0]) > 50


def test_a_vote_mends_labels_that_the_other_sources_contradict(tmp_path):
    corpus = make_corpus(tmp_path, change=wrong)
    _, labels = refined(corpus, tmp_path)
    mended = {label.clip_id: label for label in labels if label.decision == "relabelled"}
    assert set(mended) == {f"s{s}_{n}" for s in (4, 5) for n in (0, 3, 6)}
    assert {label.label for label in mended.values()} == {"angry"}


def test_keep_believes_every_label(tmp_path):
    corpus = make_corpus(tmp_path, change=wrong)
    _, labels = refined(corpus, tmp_path, RefineLabels(refiner="keep"))
    assert [label.label for label in labels] == [clip.label for clip in corpus.clips]


def test_every_decision_can_be_read_back(tmp_path):
    path, _ = refined(make_corpus(tmp_path, change=wrong), tmp_path)
    rows = {row["clip_id"]: row for row in read_table(path)}
    said = dict(word.split("=") for word in rows["s4_0"]["sources"].split())
    assert said["given"] == "sad" and said["annotator_1"] == "angry"
    assert said["face/mine"] in CLASSES and said["audio/mine"] in CLASSES


def test_a_model_never_votes_on_a_speaker_it_learned_from(tmp_path):
    """A speaker whose every label is turned round cannot teach the votes on that speaker."""

    def turned(clip):
        return (
            replace(clip, label="sad") if clip.speaker == "s9" and clip.label == "angry" else clip
        )

    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    said = []
    for name, change in (("a", lambda clip: clip), ("b", turned)):
        corpus = make_corpus(tmp_path / name, change=change)
        _, labels = refined(corpus, tmp_path / name)
        own = [label.sources for label in labels if label.clip_id.startswith("s9")]
        said.append([dict(w.split("=") for w in words.split())["audio/mine"] for words in own])
    assert said[0] == said[1]


def test_models_have_no_vote_where_the_training_clips_are_tested_in_turn(tmp_path):
    corpus = make_corpus(tmp_path, test_split=False)
    _, labels = refined(corpus, tmp_path)
    assert all("audio/mine" not in label.sources for label in labels)
    assert any("annotator_1" in label.sources for label in labels)


def test_a_softened_disagreement_keeps_every_voice(tmp_path):
    soften = {"vote": {"disagreement": "soften"}}
    corpus = make_corpus(tmp_path, change=wrong)
    _, labels = refined(corpus, tmp_path, RefineLabels(refiner="vote", folds=3, options=soften))
    (doubted,) = (label for label in labels if label.clip_id == "s4_0")
    assert 0 < doubted.soft[CLASSES.index("sad")] < doubted.soft[CLASSES.index("angry")] < 1


def test_the_given_label_wins_a_tie():
    refiner = plugins.create("refiners", "Refiner", "vote", {})
    opinions = {
        "given": Opinion("given", np.array([[0.0, 0.0, 1.0]])),
        "annotator_1": Opinion("annotators", np.array([[1.0, 0.0, 0.0]])),
    }
    (decision,) = refiner(opinions, CLASSES)
    assert (decision.name, decision.soft) == ("kept", (0.0, 0.0, 1.0))


def test_a_clip_nobody_speaks_of_keeps_its_label():
    refiner = plugins.create("refiners", "Refiner", "vote", {"given": 0.0})
    (decision,) = refiner({"given": Opinion("given", np.array([[0.0, 1.0, 0.0]]))}, CLASSES)
    assert (decision.name, decision.soft) == ("kept", (0.0, 1.0, 0.0))


def test_words_speak_for_the_classes_they_go_with():
    good, bad, nothing, unknown = of_polarity([0.8, -0.8, 0.0, None], CLASSES).shares
    assert good.argmax() == CLASSES.index("happy")
    assert bad[CLASSES.index("happy")] < min(bad[CLASSES.index("sad")], bad[CLASSES.index("angry")])
    assert not nothing.any() and not unknown.any()


def test_the_words_are_those_of_the_clip(tmp_path):
    corpus = make_corpus(tmp_path)
    texts = [
        EnrichedText(clip_id=clip.clip_id, raw="", enriched="", provider="lexicon",
                     prompt_version="1", polarity=0.9 if clip.clip_id == "s7_0" else None)
        for clip in corpus.clips
    ]  # fmt: skip
    write_texts(texts, corpus.text)
    _, labels = refined(corpus, tmp_path)
    assert [label.clip_id for label in labels if "text_cues=happy" in label.sources] == ["s7_0"]
