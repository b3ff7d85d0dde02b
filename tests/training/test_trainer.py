import os
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
import torch
import yaml
from corpus import CLASSES, SOURCES, make_corpus
from safetensors.torch import load_file
from sklearn.metrics import f1_score
from tables import read_table
from trainings import PARAMS, evaluate, files_of, model_of, train, train_and_evaluate

from ecmf import registry
from ecmf.data.features import Source
from ecmf.errors import CorpusError, ParamsError, StoreError
from ecmf.evaluation import prediction
from ecmf.storage.store import Layout, Rows, no_rows
from ecmf.storage.store_writer import StoreWriter
from ecmf.training import run_trainer, source_reading, training_cache
from ecmf.training.fold_runs import plan_runs
from ecmf.training.model_metadata import read_metadata
from ecmf.training.targets import class_targets

pytestmark = pytest.mark.usefixtures("one_worker")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train_and_evaluate(tmp_path_factory.mktemp("trained"))


def test_it_learns_what_no_source_alone_predicts(trained):
    _, _, report = trained
    assert report["test"]["waf"] > 0.9


def test_the_metadata_lists_classes_sources_and_every_run(trained):
    _, folder, _ = trained
    metadata = yaml.safe_load((folder / "fusion/card.yaml").read_text())
    assert metadata["outputs"] == list(CLASSES)
    assert [source["name"] for source in metadata["sources"]] == ["face/mine", "audio/mine"]
    assert metadata["sources"][0]["provenance"] == {"encoder": "made"}
    (member,) = metadata["members"]
    runs = member["runs"]
    assert member["name"] == "ecmf" and member["parameters"] > 1000
    assert {run["seed"] for run in runs} == {0, 1} and len(runs) == 6
    assert all(run["test_groups"] == ["s0", "s1"] for run in runs)
    weights = sorted(path.stem for path in (folder / "fusion/ecmf").glob("*.safetensors"))
    assert weights == sorted(run["name"] for run in runs)


def test_the_same_inputs_make_the_same_files_whatever_the_number_of_workers(
    trained, tmp_path, monkeypatch
):
    corpus, folder, _ = trained
    monkeypatch.setenv("ECMF_WORKERS", "2")
    train(corpus, tmp_path)
    evaluate(corpus, tmp_path)
    assert model_of(tmp_path) == model_of(folder)
    ours, theirs = files_of(tmp_path), files_of(folder)
    assert all(content == theirs[name] for name, content in ours.items())
    assert {"evaluation.json", "training.json", "predictions.csv", "confusion.png"} <= set(ours)


def test_a_killed_training_resumes_where_it_stopped(trained, tmp_path, monkeypatch):
    corpus, folder, _ = trained
    fit, fitted = run_trainer.fit, []

    def fail_at_the_third(*arguments):
        if len(fitted) == 2:
            raise KeyboardInterrupt
        fitted.append(arguments)
        return fit(*arguments)

    monkeypatch.setattr(run_trainer, "fit", fail_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        train(corpus, tmp_path)
    assert not (tmp_path / "fusion").exists()
    monkeypatch.setattr(
        run_trainer, "fit", lambda *arguments: fitted.append(arguments) or fit(*arguments)
    )
    train(corpus, tmp_path)
    assert len(fitted) == 6
    assert model_of(tmp_path) == model_of(folder)


def test_cached_trainings_are_deleted_after_a_week(trained, tmp_path):
    corpus, _, _ = trained
    old = tmp_path / "cache/train_fusion/0123"
    old.mkdir(parents=True)
    os.utime(old, (0, 0))
    train(corpus, tmp_path, PARAMS.model_copy(update={"seeds": (0,)}))
    assert not old.exists()
    assert list((tmp_path / "cache/train_fusion").iterdir())


def test_every_input_of_a_training_changes_its_key_in_the_cache(trained, tmp_path):
    corpus, _, _ = trained
    paths = SOURCES.paths(corpus.features)
    other = {**paths, "face/mine": tmp_path / "other.h5"}
    other["face/mine"].write_bytes(paths["face/mine"].read_bytes() + b"1")
    targets, others = (
        class_targets(np.eye(3, dtype="float32")[[i]], np.ones(1, "float32")) for i in (0, 1)
    )
    clip = corpus.clips[0]
    moved = [type(clip)(**{**vars(clip), "group": "elsewhere"}), *corpus.clips[1:]]
    changed = (
        (other, corpus.clips, targets), (paths, moved, targets), (paths, corpus.clips, others),
    )  # fmt: skip
    assert (
        len(
            {
                training_cache.training_hash(training_cache.inputs_hash(*arguments), PARAMS)
                for arguments in changed
            }
        )
        == 3
    )
    keys = {
        training_cache.training_hash(
            training_cache.inputs_hash(paths, corpus.clips, targets),
            PARAMS.model_copy(update=change),
        )
        for change in (
            {},
            {"epochs": 9},
            {"seeds": (3,)},
            {"model": "concat"},
            {"branches": ("audio",)},
        )
    }
    assert len(keys) == 5


def test_an_option_of_a_model_that_is_not_chosen_trains_nothing_again(trained, tmp_path):
    _, folder, _ = trained
    corpus = make_corpus(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in folder.glob("cache/train_fusion/*/*")}
    options = {**PARAMS.options, "mult": {"layers": 2}}
    defaults = registry.check_options("fusion", "ecmf", PARAMS.options["ecmf"]).model_dump()
    for changed in (options, {"ecmf": defaults}):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ECMF_CACHE", str(folder / "cache"))
            patch.setattr(run_trainer, "fit", None)
            train(corpus, tmp_path, PARAMS.model_copy(update={"options": changed}))
    assert {p: p.stat().st_mtime_ns for p in folder.glob("cache/train_fusion/*/*")} == before
    assert files_of(tmp_path / "fusion/ecmf") == files_of(folder / "fusion/ecmf")


def test_waf_is_that_of_scikit_learn_on_the_written_predictions(trained):
    _, folder, report = trained
    rows = [row for row in read_table(folder / "predictions.csv") if row["split"] == "test"]
    truth, predicted = ([row[key] for row in rows] for key in ("label", "predicted"))
    assert report["test"]["waf"] == f1_score(truth, predicted, average="weighted")
    assert report["test"]["clips"] == len(rows)


def test_every_clip_gets_a_prediction_with_the_weight_of_each_source(trained):
    corpus, folder, _ = trained
    rows = read_table(folder / "predictions.csv")
    assert [row["clip_id"] for row in rows] == [clip.clip_id for clip in corpus.clips]
    for row in rows:
        assert row["predicted"] in CLASSES
        assert sum(float(row[f"probability_{name}"]) for name in CLASSES) == pytest.approx(
            1, abs=1e-4
        )
        weights = float(row["weight_face/mine"]), float(row["weight_audio/mine"])
        assert sum(weights) == pytest.approx(1, abs=1e-4)
    faceless = [row for i, row in enumerate(rows) if i % 8 == 5]
    assert all(float(row["weight_face/mine"]) == 0 for row in faceless)


@pytest.mark.parametrize("test_split", [True, False])
def test_a_candidate_is_predicted_like_an_unlabelled_clip_and_scored_nowhere(test_split, tmp_path):
    params = PARAMS.model_copy(update={"seeds": (0,), "epochs": 2})
    written = {}
    for split in ("unlabelled", "candidate"):

        def moved(clip, to=split):
            return clip if clip.label else replace(clip, split=to)

        folder = tmp_path / split
        folder.mkdir()
        corpus = make_corpus(folder, test_split=test_split, change=moved)
        train(corpus, folder, params)
        report = evaluate(corpus, folder)
        tested = [clip for clip in corpus.clips if clip.split == "test" or not test_split]
        assert report["test"]["clips"] == sum(bool(clip.label) for clip in tested)
        row = read_table(folder / "predictions.csv")[-1]
        assert (row["clip_id"], row["split"], row["label"]) == ("wild_0", split, "")
        assert row["predicted"] in CLASSES
        written[split] = files_of(folder) | model_of(folder)
    for name, content in written["unlabelled"].items():
        if name not in ("manifest.csv", "labels.csv"):
            expected = content.replace(b"wild_0,unlabelled,", b"wild_0,candidate,")
            for split in written:  # the details name the manifest, which differs
                own = sha256((tmp_path / split / "manifest.csv").read_bytes()).hexdigest()
                written[split][name] = written[split][name].replace(own.encode(), b"")
                expected = expected.replace(own.encode(), b"")
            assert written["candidate"][name] == expected, name


def test_the_rows_of_the_confusion_reveal_no_clips_label(trained):
    _, folder, _ = trained
    lines = [(row["actual"], row["predicted"]) for row in read_table(folder / "confusion.csv")]
    tested = [row for row in read_table(folder / "predictions.csv") if row["split"] == "test"]
    in_order = [(row["label"], row["predicted"]) for row in tested]
    assert in_order != sorted(in_order)
    assert lines == sorted(in_order)


@pytest.mark.parametrize("test_split", [True, False])
def test_no_model_predicts_a_clip_it_was_trained_on(test_split, tmp_path, monkeypatch):
    corpus = make_corpus(tmp_path, test_split=test_split)
    params = PARAMS.model_copy(update={"seeds": (0,), "epochs": 1})
    train(corpus, tmp_path, params)
    predicted: dict[str, set[int]] = {}
    real = prediction.Predictor.predict

    def recorded(self, member, run, clips):
        predicted.setdefault(run, set()).update(clips.tolist())
        return real(self, member, run, clips)

    monkeypatch.setattr(prediction.Predictor, "predict", recorded)
    evaluate(corpus, tmp_path)
    runs = plan_runs(corpus.clips, params)
    assert set(predicted) == {run.name for run in runs}
    for run in runs:
        assert not predicted[run.name] & set(run.fold.train.tolist())
        assert predicted[run.name] | set(run.fold.train) == set(range(len(corpus.clips)))


def test_labels_of_the_test_split_do_not_reach_the_training(trained, tmp_path):
    def with_wrong_label(clip):
        if clip.split != "test":
            return clip
        return type(clip)(**{**vars(clip), "label": CLASSES[(CLASSES.index(clip.label) + 1) % 3]})

    _, folder, report = trained
    corpus = make_corpus(tmp_path, change=with_wrong_label)
    train(corpus, tmp_path)
    assert model_of(tmp_path) == model_of(folder)
    assert evaluate(corpus, tmp_path)["test"]["waf"] < 0.2 < report["test"]["waf"]


def test_a_corpus_without_test_split_is_scored_fold_by_fold(tmp_path):
    corpus = make_corpus(tmp_path, test_split=False)
    train(corpus, tmp_path, PARAMS.model_copy(update={"seeds": (0,), "epochs": 20}))
    report = evaluate(corpus, tmp_path)
    assert report["protocol"] == "2 test folds by group"
    assert report["test"]["clips"] == sum(bool(clip.label) for clip in corpus.clips)
    assert report["test"]["waf"] > 0.85
    metadata = yaml.safe_load((tmp_path / "fusion/card.yaml").read_text())
    tested = [set(run["test_groups"]) for run in metadata["members"][0]["runs"] if run["fold"] == 0]
    assert not tested[0] & tested[1] and len(tested[0] | tested[1]) == 10


@pytest.mark.parametrize("standardise", ["none", "speaker"])
def test_inputs_are_standardised_as_chosen(standardise, tmp_path):
    corpus = make_corpus(tmp_path)
    params = PARAMS.model_copy(update={"standardise": standardise, "seeds": (0,)})
    train(corpus, tmp_path, params)
    weights = load_file(tmp_path / "fusion/ecmf/seed0-round0-fold0.safetensors")
    assert torch.equal(weights["mean_0"], torch.zeros(4))
    (face, _) = source_reading.read_sources(SOURCES.paths(corpus.features), corpus.clips, params)
    own = [i for i, clip in enumerate(corpus.clips) if clip.speaker == "s5"]
    rows = np.concatenate([face.values[face.starts[i] : face.starts[i + 1]] for i in own])
    centred = np.abs(rows.mean(axis=0)).max() < 1e-5
    assert centred == (standardise == "speaker")


def test_only_the_chosen_branches_are_read(tmp_path):
    corpus = make_corpus(tmp_path)
    train(corpus, tmp_path, PARAMS.model_copy(update={"branches": ("audio",), "seeds": (0,)}))
    metadata = yaml.safe_load((tmp_path / "fusion/card.yaml").read_text())
    assert [source["name"] for source in metadata["sources"]] == ["audio/mine"]
    assert evaluate(corpus, tmp_path)["test"]["waf"] < 0.9


def without_rows(corpus, branch):
    """Replace the features of a branch by those of an encoder that had nothing to encode."""
    with StoreWriter(corpus.features / branch / "mine.h5", Layout((4,)), {}) as out:
        for clip in corpus.clips:
            out.append(clip.clip_id, no_rows(Layout((4,)), "empty", "no video"))


def test_a_source_that_no_clip_has_is_left_out_with_one_sentence(tmp_path, caplog):
    """The models are those of a corpus of sound alone, to the byte."""
    caplog.set_level("INFO")
    made = {}
    for name, branches in (("absent", ("face", "audio")), ("unread", ("audio",))):
        folder = tmp_path / name
        corpus = make_corpus(folder)
        without_rows(corpus, "face")
        train(corpus, folder, PARAMS.model_copy(update={"branches": branches, "seeds": (0,)}))
        evaluate(corpus, folder)
        made[name] = (folder / "predictions.csv").read_bytes()
        if name == "absent":
            lines = [line for line in caplog.messages if "face/mine" in line]
    metadata = yaml.safe_load((tmp_path / "absent/fusion/card.yaml").read_text())
    assert [source["name"] for source in metadata["sources"]] == ["audio/mine"]
    assert made["absent"] == made["unread"]
    assert lines == ["no clip has a row of face/mine: not read"] * 2  # training and evaluation


def test_a_corpus_of_which_no_source_has_a_row_is_refused(tmp_path):
    corpus = make_corpus(tmp_path)
    for branch in ("face", "audio"):
        without_rows(corpus, branch)
    with pytest.raises(CorpusError, match=r"no clip has a row in any of face/mine, audio/mine: me"):
        train(corpus, tmp_path)


def test_features_of_another_encoder_are_refused_by_name(trained, tmp_path):
    _, folder, _ = trained
    other = make_corpus(tmp_path)
    layout = Layout((4,))
    with StoreWriter(other.features / "face/mine.h5", layout, {"encoder": "another"}) as out:
        for clip in other.clips:
            out.append(clip.clip_id, Rows(np.ones((1, 4), "float32"), np.zeros(1)))
    (tmp_path / "fusion").symlink_to(folder / "fusion")
    with pytest.raises(
        StoreError, match="features face/mine with encoder 'made', these have 'another'"
    ):
        evaluate(other, tmp_path)


def test_another_set_of_sources_is_refused_by_name(trained):
    _, folder, _ = trained
    metadata = read_metadata(folder / "fusion")
    with pytest.raises(
        StoreError, match="trained on face/mine, audio/mine, but the features are face/mine:"
    ):
        metadata.check_sources(
            [Source("face/mine", np.ones((1, 4), "float32"), np.array([0, 1]), {})]
        )


def test_speakers_must_be_known_to_standardise_by_them(tmp_path):
    corpus = make_corpus(tmp_path, change=lambda clip: type(clip)(**{**vars(clip), "speaker": ""}))
    with pytest.raises(ParamsError, match=r"91 clips have no speaker, e\.g\. 's0_0'"):
        train(corpus, tmp_path, PARAMS.model_copy(update={"standardise": "speaker"}))


def test_a_branch_without_encoders_is_refused(tmp_path):
    with pytest.raises(ParamsError, match=r"no table has an encoder of .*\('frame',\)"):
        train(make_corpus(tmp_path), tmp_path, PARAMS.model_copy(update={"branches": ("frame",)}))


def test_a_clip_of_weight_zero_is_not_trained_on(trained):
    _, folder, _ = trained
    lines = (folder / "labels.csv").read_text().splitlines()
    assert lines[-1].startswith("wild_0,,0,0,0,0,unlabelled")


def test_it_learns_with_class_weights_and_every_regularisation(tmp_path):
    corpus = make_corpus(tmp_path)
    change = {
        "class_weights": True, "label_smoothing": 0.1, "modality_dropout": 0.5, "mixup": 0.8,
        "seeds": (0,),
    }  # fmt: skip
    train(corpus, tmp_path, PARAMS.model_copy(update=change))
    assert evaluate(corpus, tmp_path)["test"]["waf"] > 0.8


def test_pseudo_labelled_clips_are_trained_on_and_still_predicted(tmp_path):
    models = {}
    for rounds in (0, 1):
        folder = tmp_path / str(rounds)
        folder.mkdir()
        corpus = make_corpus(folder, wild=9)
        pseudo = {"rounds": rounds, "threshold": 0.4, "min_gain": -1.0}
        train(corpus, folder, refiner="vote", folds=3, fusion="concat", pseudo_labels=pseudo)
        evaluate(corpus, folder)
        models[rounds] = model_of(folder)
        wild = read_table(folder / "predictions.csv")[-9:]
        assert all(row["predicted"] for row in wild)
        added = [row for row in read_table(folder / "labels.csv") if row["decision"] == "added"]
        assert bool(added) == bool(rounds)  # marks the predictions that repeat a pseudo-label
        assert {row["clip_id"] for row in added} <= {row["clip_id"] for row in wild}
        assert all(float(row["weight"]) > 0 for row in added)
    assert models[0] != models[1]


def test_a_training_that_diverges_stops_with_a_remedy(tmp_path):
    corpus = make_corpus(tmp_path)
    with pytest.raises(
        ParamsError, match=r"the loss of epoch \d+ is .*: the training has diverged"
    ):
        train(corpus, tmp_path, PARAMS.model_copy(update={"learning_rate": 1e30, "seeds": (0,)}))
