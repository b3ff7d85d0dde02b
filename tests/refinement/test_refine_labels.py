"""The stage that refines the labels of the training split by the votes of all sources."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from corpus import CLASSES, SOURCES, make_corpus, true_class
from tables import read_table

from audit_labels import audit_labels
from ecmf import registry
from ecmf.data.enriched_text import EnrichedText, read_texts, write_texts
from ecmf.data.label_table import read_labels
from ecmf.data.manifest import UNLABELLED_SPLITS, classes_of
from ecmf.errors import CorpusError, MissingFileError, ParamsError
from ecmf.execution import code_fingerprint
from ecmf.params import RefineLabels
from ecmf.refinement.out_of_fold import OutOfFoldPredictor
from ecmf.storage.files import sha256
from ecmf.storage.store import Layout, Store, no_rows
from ecmf.storage.store_writer import StoreWriter
from ecmf.training.targets import class_targets
from refine_labels import refine_labels

OPTIONS = {"agreement": {"sources": ["face/mine", "audio/mine"]}}
PARAMS = {"refiner": "vote", "folds": 3, "fusion": "concat", "options": OPTIONS}
REFINERS = [*registry.names("refiners"), registry.EXAMPLE]


@pytest.fixture(scope="module")
def votes_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def in_this_process(own_cache, votes_cache, monkeypatch):
    """Train the models of equal inputs once for all tests, as an interrupted run would."""
    monkeypatch.setenv("ECMF_WORKERS", "1")
    monkeypatch.setenv("ECMF_CACHE", str(votes_cache))


def refined(corpus, folder, **params):
    paths = [folder / name for name in ("labels.csv", "votes.csv", "sources.json")]
    chosen = RefineLabels.model_validate(PARAMS | params)
    refine_labels(corpus.manifest, corpus.text, corpus.features, *paths, chosen, SOURCES)
    classes = classes_of(corpus.manifest, corpus.clips)
    return paths[0], read_labels(paths[0], [clip.clip_id for clip in corpus.clips], classes)


def wrong(clip):
    """Mislabel every third clip of two speakers; its annotators are right."""
    number = int(clip.clip_id.rpartition("_")[2]) if clip.label else 1
    if clip.speaker in ("s4", "s5") and number % 3 == 0:
        return replace(clip, label="sad")
    return clip


@pytest.mark.parametrize("refiner", REFINERS)
def test_every_refiner_sets_a_distribution_and_a_weight_for_every_clip(refiner, tmp_path):
    corpus = make_corpus(tmp_path)
    _, labels = refined(corpus, tmp_path, refiner=refiner)
    for clip, label in zip(corpus.clips, labels, strict=True):
        assert sum(label.soft) == pytest.approx(1 if clip.label else 0)
        assert (label.weight > 0) == bool(clip.label)
        assert label.decision


@pytest.mark.parametrize("refiner", REFINERS)
def test_validation_and_test_labels_are_copied_unchanged(refiner, tmp_path):
    corpus = make_corpus(tmp_path, change=wrong)
    _, labels = refined(corpus, tmp_path, refiner=refiner)
    for clip, label in zip(corpus.clips, labels, strict=True):
        if clip.split in ("val", "test"):
            assert (label.label, label.decision, label.sources) == (clip.label, "untouched", "")


@pytest.mark.parametrize("split", UNLABELLED_SPLITS)
def test_a_clip_without_label_has_its_split_as_decision_and_no_weight(split, tmp_path):
    def moved(clip):
        return clip if clip.label else replace(clip, split=split)

    _, labels = refined(make_corpus(tmp_path, change=moved), tmp_path)
    wild = labels[-1]
    assert (wild.clip_id, wild.label, wild.weight, wild.decision) == ("wild_0", "", 0, split)
    assert not any(wild.soft)


def test_a_vote_corrects_labels_that_the_other_sources_contradict(tmp_path):
    corpus = make_corpus(tmp_path, change=wrong)
    _, labels = refined(corpus, tmp_path)
    corrected = {label.clip_id: label for label in labels if label.decision == "relabelled"}
    assert set(corrected) == {f"s{s}_{n}" for s in (4, 5) for n in (0, 3, 6)}
    assert {label.label for label in corrected.values()} == {"angry"}


def test_a_class_of_fewer_clips_than_folds_is_no_warning_of_a_library(tmp_path):
    corpus = make_corpus(
        tmp_path, speakers=12, each=3,
        change=lambda clip: replace(clip, label="rare") if clip.clip_id == "s4_0" else clip,
    )  # fmt: skip
    _, labels = refined(corpus, tmp_path, folds=2)  # here every warning is an error
    assert len(labels) == len(corpus.clips)


def test_keep_changes_no_label(tmp_path):
    corpus = make_corpus(tmp_path, change=wrong)
    _, labels = refined(corpus, tmp_path, refiner="keep")
    assert [label.label for label in labels] == [clip.label for clip in corpus.clips]


def test_every_label_lists_its_votes(tmp_path):
    path, _ = refined(make_corpus(tmp_path, change=wrong), tmp_path)
    rows = {row["clip_id"]: row for row in read_table(path)}
    votes = dict(vote.split("=") for vote in rows["s4_0"]["sources"].split("; "))
    assert votes["given"] == "sad" and votes["annotator_1"] == "angry"
    assert votes["face/mine"] in CLASSES and votes["audio/mine"] in CLASSES


def test_a_model_never_votes_on_a_speaker_it_was_trained_on(tmp_path):
    """Changed labels of a speaker do not change the votes on that speaker."""

    def changed(clip):
        return (
            replace(clip, label="sad") if clip.speaker == "s9" and clip.label == "angry" else clip
        )

    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    votes = []
    for name, change in (("a", lambda clip: clip), ("b", changed)):
        corpus = make_corpus(tmp_path / name, change=change)
        _, labels = refined(corpus, tmp_path / name)
        own = [label.sources for label in labels if label.clip_id.startswith("s9")]
        votes.append([dict(v.split("=") for v in row.split("; "))["audio/mine"] for row in own])
    assert votes[0] == votes[1]


def of_one_group(clip):
    """Label half of a speaker's clips with a class that no other speaker has."""
    number = int(clip.clip_id.rpartition("_")[2])
    if clip.speaker != "s4" or number % 2:
        return clip
    doubted = {"annotator_1": "angry"} if number == 4 else {}
    return replace(clip, label="worried", annotators=doubted)


@pytest.mark.parametrize("refiner", REFINERS)
def test_models_relabel_no_clip_of_a_class_that_one_group_alone_has(refiner, tmp_path, caplog):
    """No model that is asked about these clips has learned their class."""
    corpus = make_corpus(tmp_path, change=of_one_group)
    path, labels = refined(corpus, tmp_path, refiner=refiner)
    own = {
        clip.clip_id: label
        for clip, label in zip(corpus.clips, labels, strict=True)
        if clip.label == "worried"
    }
    assert len(own) == 5
    doubted = own.pop("s4_4")
    assert {label.label for label in own.values()} == {"worried"}
    if refiner == "vote":
        sources = {row["clip_id"]: row["sources"] for row in read_table(path)}
        assert sources["s4_0"] == "given=worried"
        assert doubted.sources == "given=worried; annotator_1=angry"
        assert (
            "class 'worried': on 5 of its clips no model votes that learned none of it"
            in caplog.text
        )


def test_the_report_counts_the_clips_whose_class_a_model_cannot_know(tmp_path):
    corpus = make_corpus(tmp_path, change=of_one_group)
    refined(corpus, tmp_path)
    audit_labels(
        corpus.manifest, tmp_path / "labels.csv", tmp_path / "votes.csv",
        tmp_path / "sources.json", tmp_path / "labels.json",
    )  # fmt: skip
    report = json.loads((tmp_path / "labels.json").read_text())
    assert report["sources"]["face/mine"]["clips_of_unknown_class"] == 5
    assert report["sources"]["fusion"]["clips_of_unknown_class"] >= 5


@pytest.fixture
def copied_code(tmp_path, monkeypatch):
    """Copy the package, to be fingerprinted in its place."""
    shutil.copytree(code_fingerprint.STAGES / "ecmf", tmp_path / "ecmf")
    monkeypatch.setattr(code_fingerprint, "STAGES", tmp_path)
    code_fingerprint.hash_modules.cache_clear()
    yield tmp_path / "ecmf"
    code_fingerprint.hash_modules.cache_clear()


def test_votes_are_recomputed_when_a_model_wrapped_by_the_fusion_changes(copied_code):
    no_clip = np.array([], "int64")
    params = RefineLabels.model_validate(PARAMS | {"fusion": "semmim"})
    predictor = OutOfFoldPredictor({}, [], CLASSES, no_clip, no_clip, params)

    def code():
        code_fingerprint.hash_modules.cache_clear()
        nothing = class_targets(np.zeros((0, 3), "float32"), np.zeros(0, "float32"))
        return predictor._recipe(nothing).identity["code"]

    before = code()
    wrapped = copied_code / "fusion/ecmf.py"
    text = wrapped.read_text()
    wrapped.write_text(text.replace("residual: bool = Field(True", "residual: bool = Field(False"))
    assert wrapped.read_text() != text and code() != before
    wrapped.write_text(text)
    assert code() == before


def test_models_do_not_vote_where_the_training_clips_are_tested_in_folds(tmp_path):
    corpus = make_corpus(tmp_path, test_split=False)
    _, labels = refined(corpus, tmp_path)
    assert all("audio/mine" not in label.sources for label in labels)
    assert any("annotator_1" in label.sources for label in labels)


def test_a_softened_label_keeps_the_probabilities_of_all_votes(tmp_path):
    corpus = make_corpus(tmp_path, change=wrong)
    _, labels = refined(corpus, tmp_path, disagreement="soften")
    (softened,) = (label for label in labels if label.clip_id == "s4_0")
    assert 0 < softened.soft[CLASSES.index("sad")] < softened.soft[CLASSES.index("angry")] < 1


def test_polarity_votes_are_of_their_own_clip(tmp_path):
    corpus = make_corpus(tmp_path)
    texts = [
        EnrichedText(clip_id=clip.clip_id, raw="", enriched="", provider="lexicon",
                     prompt_version="1", polarity=0.9 if clip.clip_id == "s7_0" else None)
        for clip in corpus.clips
    ]  # fmt: skip
    write_texts(texts, corpus.text)
    _, labels = refined(corpus, tmp_path)
    assert [label.clip_id for label in labels if "text_cues=happy" in label.sources] == ["s7_0"]


# --- no label of validation or test is used ---------------------------------------------------


def shuffled(clip):
    other = CLASSES[(CLASSES.index(clip.label) + 1) % 3] if clip.label else ""
    return replace(clip, label=other) if clip.split in ("val", "test") else clip


@pytest.mark.parametrize(
    ("refiner", "rounds"), [*((refiner, 0) for refiner in REFINERS), ("vote", 2)]
)
def test_validation_and_test_labels_change_no_byte_of_the_outputs(refiner, rounds, tmp_path):
    pseudo = {"rounds": rounds, "threshold": 0.4, "min_gain": -1.0}
    outputs = []
    for name, change in (("as_is", lambda clip: clip), ("shuffled", shuffled)):
        folder = tmp_path / name
        folder.mkdir()
        corpus = make_corpus(folder, change=change, wild=6)
        path, labels = refined(corpus, folder, refiner=refiner, pseudo_labels=pseudo)
        rows = [
            line
            for line in path.read_text().splitlines()
            if line[:2] not in {"s0", "s1", "s2", "s3"}
        ]
        votes = (folder / "votes.csv").read_bytes(), (folder / "sources.json").read_bytes()
        audit_labels(
            corpus.manifest, path, folder / "votes.csv", folder / "sources.json",
            folder / "labels.json",
        )  # fmt: skip
        audited = (folder / "labels.json").read_bytes()
        outputs.append((rows, votes, audited))
        assert len(rows) == 1 + 54 + 6
        assert any(label.decision == "added" for label in labels) == bool(rounds)
    assert outputs[0] == outputs[1]


# --- sources ----------------------------------------------------------------------------------


def test_every_source_is_listed_with_its_provenance(tmp_path):
    corpus = make_corpus(tmp_path)
    records = read_texts(corpus.text)
    probabilities = {"happy": 0.75, "sad": 0.25}
    write_texts(
        [
            one.model_copy(update={"probabilities": probabilities, "model": "m-1"})
            for one in records
        ],
        corpus.text,
    )
    table = tmp_path / "theirs.csv"
    table.write_text("clip_id,label\n" + "".join(f"s5_{n},sad\n" for n in range(9)))
    mine = {"theirs": {"path": str(table), "sha256": sha256(table)}}
    refined(corpus, tmp_path, tables=mine)
    sources = json.loads((tmp_path / "sources.json").read_text())["sources"]
    assert {name: one["kind"] for name, one in sources.items()} == {
        "given": "given", "annotator_1": "annotators", "annotator_2": "annotators", "llm": "llm",
        "theirs": "tables", "face/mine": "out_of_fold", "audio/mine": "out_of_fold",
        "fusion": "out_of_fold",
    }  # fmt: skip
    assert sources["llm"]["answered_by"] == ["lexicon m-1 1"]
    assert sources["theirs"]["file"] == "theirs.csv" and sources["theirs"]["sha256"]
    assert sources["fusion"]["model"] == "concat" and sources["fusion"]["folds"] == 3
    votes = read_table(tmp_path / "votes.csv")
    assert {row["clip_id"] for row in votes if row["source"] == "theirs"} == {
        f"s5_{n}" for n in range(9)
    }
    (llm,) = (row for row in votes if (row["clip_id"], row["source"]) == ("s4_0", "llm"))
    assert (llm["said"], llm["probability_happy"]) == ("happy", "0.75")


def test_votes_made_elsewhere_count_like_any_other(tmp_path):
    corpus = make_corpus(tmp_path)
    table = tmp_path / "theirs.csv"
    table.write_text(
        "clip_id,probability_angry,probability_happy,probability_sad\ns5_0,0,0.1,0.9\n"
    )
    votes = {"given": 1.0, "tables": 5.0}
    _, labels = refined(
        corpus,
        tmp_path,
        options={"vote": votes},
        tables={"theirs": {"path": str(table), "sha256": sha256(table)}},
    )
    assert {label.clip_id: label.label for label in labels}["s5_0"] == "sad"


def test_a_table_without_its_checksum_is_refused_with_the_checksum(tmp_path):
    table = tmp_path / "theirs.csv"
    table.write_text("clip_id,label\ns5_0,sad\n")
    with pytest.raises(MissingFileError, match=r"set sha256: [0-9a-f]{64}"):
        refined(make_corpus(tmp_path), tmp_path, tables={"theirs": {"path": str(table)}})


def test_a_broken_table_names_every_fault(tmp_path):
    table = tmp_path / "theirs.csv"
    table.write_text("clip_id,label\ns5_0,sad\ns5_0,sad\ns5_1,hapy\n")
    tables = {"theirs": {"path": str(table), "sha256": sha256(table)}}
    with pytest.raises(
        CorpusError, match=r"'s5_0' is listed twice\n.*'hapy'.*Did you mean 'happy'"
    ):
        refined(make_corpus(tmp_path), tmp_path, tables=tables)


@pytest.mark.parametrize("name", ["llm", "given", "annotator_1", "fusion", "models"])
def test_a_table_cannot_have_the_name_of_another_source(name):
    with pytest.raises(ValueError, match="reserved for another label source"):
        RefineLabels.model_validate({"tables": {name: {"path": "x"}}})


@pytest.mark.parametrize("refiner", REFINERS)
def test_a_trusted_label_overrides_every_vote(refiner, tmp_path):
    table = tmp_path / "gold.csv"
    table.write_text("clip_id,label\ns4_0,happy\ns0_0,sad\n")
    trusted = {"path": str(table), "sha256": sha256(table)}
    _, labels = refined(make_corpus(tmp_path), tmp_path, refiner=refiner, trusted=trusted)
    by_name = {label.clip_id: label for label in labels}
    assert (by_name["s4_0"].label, by_name["s4_0"].decision) == ("happy", "trusted")
    assert by_name["s0_0"].decision == "untouched"  # of the test split


def test_too_few_speakers_for_the_folds_is_an_error(tmp_path):
    with pytest.raises(ParamsError, match="folds is 9, but models would be trained on 6 groups"):
        refined(make_corpus(tmp_path), tmp_path, folds=9)


# --- pseudo-labels ----------------------------------------------------------------------------

SURE = {"rounds": 2, "threshold": 0.4, "cap": None, "min_gain": -1.0, "weight": 0.25}


def test_confidently_predicted_unlabelled_clips_join_training_with_their_weight(tmp_path):
    corpus = make_corpus(tmp_path, wild=9)
    _, labels = refined(corpus, tmp_path, pseudo_labels=SURE)
    added = [label for label in labels if label.decision == "added"]
    assert len(added) >= 6
    assert all(label.label == true_class(label.clip_id) for label in added)
    assert {label.weight for label in added} == {0.25}
    assert all("fusion=" in label.sources and "at least 0.4" in label.reason for label in added)
    rounds = json.loads((tmp_path / "sources.json").read_text())["rounds"]
    assert rounds[0]["added"] == 0 and rounds[1]["added"] > 0


def test_a_round_that_does_not_improve_out_of_fold_is_rejected(tmp_path):
    corpus = make_corpus(tmp_path, wild=9)
    _, labels = refined(corpus, tmp_path, pseudo_labels=SURE | {"min_gain": 1.0})
    assert not any(label.decision == "added" for label in labels)
    rounds = json.loads((tmp_path / "sources.json").read_text())["rounds"]
    assert [one["kept"] for one in rounds] == [True, False]


def test_the_label_of_an_unlabelled_clip_is_not_used(tmp_path):
    def label(clip):
        return replace(clip, label="sad") if clip.split == "unlabelled" else clip

    _, labels = refined(make_corpus(tmp_path, wild=6, change=label), tmp_path, pseudo_labels=SURE)
    wild = [label for label in labels if label.clip_id.startswith("wild")]
    assert len(wild) == 6 and {label.label for label in wild} > {"sad"}
    assert not any("given=" in label.sources for label in wild)


@pytest.mark.parametrize("split", ["candidate", "test"])
def test_only_unlabelled_clips_get_a_pseudo_label(split, tmp_path):
    def moved(clip):
        if clip.split != "unlabelled":
            return clip
        return replace(clip, split=split, label="sad" if split == "test" else "")

    corpus = make_corpus(tmp_path, wild=6, change=moved)
    _, labels = refined(corpus, tmp_path, pseudo_labels=SURE)
    assert not any(label.decision == "added" for label in labels)


def test_pseudo_labels_need_a_refiner_that_uses_models(tmp_path):
    with pytest.raises(ParamsError, match="'keep' with its options uses no model"):
        refined(make_corpus(tmp_path), tmp_path, refiner="keep", pseudo_labels={"rounds": 1})


def test_there_are_no_pseudo_labels_where_the_training_clips_are_tested_in_folds(tmp_path):
    corpus = make_corpus(tmp_path, test_split=False, wild=6)
    _, labels = refined(corpus, tmp_path, pseudo_labels=SURE)
    assert not any(label.decision == "added" for label in labels)


@pytest.mark.parametrize(
    "options", [{"dawid_skene": {}}, {"agreement": {"sources": ["annotator_1"]}}]
)
def test_pseudo_labels_need_options_that_use_models(options, tmp_path):
    (refiner,) = options
    with pytest.raises(ParamsError, match=f"'{refiner}' with its options uses no model"):
        refined(make_corpus(tmp_path), tmp_path, refiner=refiner, options=options,
                pseudo_labels={"rounds": 1})  # fmt: skip


def test_votes_on_added_clips_are_those_that_their_pseudo_labels_follow(tmp_path):
    corpus = make_corpus(tmp_path, wild=9)
    _, labels = refined(corpus, tmp_path, pseudo_labels=SURE)
    votes = read_table(tmp_path / "votes.csv")
    fusion = {row["clip_id"]: row for row in votes if row["source"] == "fusion"}
    for label in labels:
        if label.decision == "added":
            assert fusion[label.clip_id]["said"] == label.label


def test_a_model_does_not_vote_on_a_clip_without_any_feature(tmp_path):
    corpus = make_corpus(tmp_path)
    for branch in ("face", "audio"):
        path = corpus.features / branch / "mine.h5"
        with Store(path) as store:
            features = {name: store[name] for name in store}
            layout = store.layout
        with StoreWriter(path, layout, {"encoder": "made"}) as out:
            for name, rows in features.items():
                out.append(name, no_rows(layout, "empty", "nothing") if name == "s5_0" else rows)
    refined(corpus, tmp_path)
    votes = read_table(tmp_path / "votes.csv")
    assert {row["kind"] for row in votes if row["clip_id"] == "s5_0"} == {"given", "annotators"}


def test_as_many_folds_as_speakers_are_possible(tmp_path):
    _, labels = refined(make_corpus(tmp_path), tmp_path, folds=6)
    assert sum("fusion=" in label.sources for label in labels) == 54


def test_a_policy_that_leaves_no_training_clip_is_refused(tmp_path):
    table = tmp_path / "theirs.csv"
    corpus = make_corpus(tmp_path)
    other = {"angry": "sad", "sad": "happy", "happy": "angry"}
    table.write_text("clip_id,label\n" + "".join(
        f"{clip.clip_id},{other[clip.label]}\n" for clip in corpus.clips if clip.split == "train"
    ))  # fmt: skip
    with pytest.raises(ParamsError, match="drop leaves no training clip to train on"):
        refined(
            corpus, tmp_path, disagreement="drop",
            options={"vote": {"tables": 9.0, "out_of_fold": 0.0}},
            tables={"theirs": {"path": str(table), "sha256": sha256(table)}},
        )  # fmt: skip


def unlabelled(clip):
    return replace(clip, label="", split="unlabelled", annotators={})


def of_one_class(clip):
    return replace(clip, label="sad", annotators={}) if clip.label else clip


def labelled_for_the_test_alone(clip):
    return clip if clip.split == "test" else unlabelled(clip)


@pytest.mark.parametrize("change", [unlabelled, of_one_class, labelled_for_the_test_alone])
def test_a_corpus_with_nothing_to_refine_passes_through_with_its_labels(change, tmp_path, caplog):
    caplog.set_level("INFO")
    corpus = make_corpus(tmp_path, change=change, wild=6)
    for refiner in REFINERS:
        path, labels = refined(corpus, tmp_path, refiner=refiner, pseudo_labels={"rounds": 2})
    assert "there is nothing to refine" in caplog.text
    for clip, label in zip(corpus.clips, labels, strict=True):
        assert (label.label, label.weight > 0) == (clip.label, bool(clip.label))
    audit_labels(
        corpus.manifest, path, tmp_path / "votes.csv", tmp_path / "sources.json",
        tmp_path / "labels.json",
    )  # fmt: skip
    assert json.loads((tmp_path / "labels.json").read_text())["changed"] == 0


def test_a_branch_without_any_row_does_not_stop_self_training(tmp_path):
    corpus = make_corpus(tmp_path, wild=9)
    path = corpus.features / "face/mine.h5"
    with StoreWriter(path, Layout((4,)), {"encoder": "made"}) as out:
        for clip in corpus.clips:
            out.append(clip.clip_id, no_rows(Layout((4,)), "empty", "no video stream"))
    _, labels = refined(corpus, tmp_path, pseudo_labels=SURE)
    assert any(label.decision == "added" for label in labels)
    assert not any("face/mine=" in label.sources for label in labels)
