import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
import yaml
from corpus import CLASSES, make_corpus
from dvc.utils.hydra import apply_overrides
from scipy import stats

from ecmf.cli import preset, sweep
from ecmf.data.label_table import hard_label, write_labels
from ecmf.data.manifest import write_manifest
from ecmf.data.splits import make_folds
from ecmf.errors import ParamsError
from ecmf.params import TrainFusion, load_params
from ecmf.training.targets import class_targets
from ecmf.tuning import objective, report, search, search_space

ROOT = Path(__file__).resolve().parents[2]
SWEEP = (sys.executable, "-W", "error", "-m", "ecmf", "sweep")
SPACE = ["learning_rate=log:1e-3:1e-1", "options.ecmf.width=4,8", "epochs=2:4"]
TRIALS, FRESH = 4, 2
TRIALS_WITH_TPE = 13
"""The first ten trials of TPE are random."""
TRAINING = {
    "model": "ecmf",
    "options": {"ecmf": {"width": 8, "heads": 2, "dropout": 0.1}},
    "folds": 3,
    "outer_folds": 2,
    "epochs": 3,
    "batch_size": 16,
    "learning_rate": 0.01,
    "modality_dropout": 0.1,
    "mixup": 0,
}


def make_project(folder, **corpus):
    """A project on the synthetic corpus, as `dvc repro` leaves it before the training."""
    made = make_corpus(folder / "data", **corpus)
    (folder / "data/manifests").mkdir()
    write_all(folder, made.clips)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params |= {"corpus": "made", "train_fusion": TRAINING}
    params["encode_frames"]["encoders"] = params["encode_text"]["encoders"] = {}
    params["encode_faces"]["encoders"] = {"mine": {"encoder": "gradient_histogram"}}
    params["encode_audio"]["encoders"] = {"mine": {"encoder": "librosa"}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    return made.clips


def write_all(folder, clips):
    write_manifest(clips, folder / "data/manifests/made.csv")
    labels = [hard_label(clip.clip_id, clip.label, CLASSES, "kept") for clip in clips]
    write_labels(labels, CLASSES, folder / "data/labels.csv")


def targets_of(clips):
    soft = np.array([[clip.label == name for name in CLASSES] for clip in clips], "float32")
    return class_targets(soft, soft.sum(axis=1))


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_project(tmp_path)


def run(space=SPACE, count=TRIALS, name="swept.yaml"):
    return sweep.sweep_fusion(list(space), count, 0, FRESH, Path(name))


def results():
    names = ("metrics/sweep.csv", "metrics/sweep.png", "swept.yaml")
    return {name: Path(name).read_bytes() for name in names}


def table():
    with Path("metrics/sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_labels_of_the_test_split_change_nothing(project, monkeypatch, tmp_path):
    summary = run()
    before = results()
    wrong = {"angry": "happy", "happy": "sad", "sad": "angry"}
    tampered = [
        replace(clip, label=wrong[clip.label]) if clip.split == "test" else clip for clip in project
    ]
    assert tampered != project
    write_all(tmp_path, tampered)
    monkeypatch.setenv("ECMF_CACHE", str(tmp_path / "another cache"))
    assert run() == summary and results() == before


def test_trials_are_trained_on_the_valence_of_the_train_and_val_splits_alone(project, tmp_path):
    write_all(tmp_path, [replace(clip, valence="0.5") for clip in project])
    found = sweep._objective(load_params(), 0).targets.values["valence"]
    learned = [clip.split in ("train", "val") for clip in project]
    assert any(learned) and not all(learned)
    assert (~np.isnan(found)).tolist() == learned


def test_labels_of_the_validation_folds_change_the_result(project, tmp_path):
    """Without this one, the test on test labels would also pass if no label were read at all."""
    run()
    before = results()
    wrong = {"angry": "happy", "happy": "sad", "sad": "angry"}
    write_all(
        tmp_path,
        [
            replace(clip, label=wrong[clip.label])
            if clip.split == "train" and clip.speaker in "s4 s5 s6"
            else clip
            for clip in project
        ],
    )
    run()
    assert results()["metrics/sweep.csv"] != before["metrics/sweep.csv"]


def test_without_a_test_split_the_first_test_fold_becomes_one(tmp_path):
    clips = make_corpus(tmp_path, test_split=False).clips
    params = TrainFusion.model_validate(TRAINING)
    folds = make_folds(clips, params.folds, params.outer_folds, 5)
    hidden, targets = objective.hide_test_labels(clips, targets_of(clips), params, 5)
    held = folds[0].test
    assert len(held) and {hidden[i].split for i in held} == {"test"}
    assert not any(hidden[i].label or hidden[i].annotators for i in held)
    assert np.isnan(targets.values["class_probs"][held]).all() and not targets.weight[held].any()
    for seed in (5, 6):
        for fold in make_folds(hidden, params.folds, params.outer_folds, seed):
            assert not set(held) & {*fold.train.tolist(), *fold.validation.tolist()}
    inner = make_folds(hidden, params.folds, params.outer_folds, 5)
    for fold, first in zip(inner, (one for one in folds if one.outer_fold == 0), strict=True):
        assert fold.validation.tolist() == first.validation.tolist()
        assert fold.train.tolist() == first.train.tolist()


def test_a_corpus_without_test_split_is_swept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_project(tmp_path, test_split=False)
    assert "val split" not in run(count=2)


def test_a_killed_sweep_resumes_and_ends_as_if_it_had_not_been_killed(project, tmp_path):
    summary = run(count=TRIALS_WITH_TPE)
    undisturbed = results()
    shutil.rmtree("metrics")
    Path("swept.yaml").unlink()
    cache = tmp_path / "cache of the killed"
    command = [*SWEEP, "--trials", str(TRIALS_WITH_TPE),
               "--fresh", str(FRESH), "--preset", "swept.yaml"]  # fmt: skip
    command += [word for one in SPACE for word in ("--space", one)]
    environment = {**os.environ, "ECMF_CACHE": str(cache)}
    killed = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(cache.rglob("*.json"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL and not Path("swept.yaml").exists()
    scored = {path: path.stat().st_mtime_ns for path in cache.rglob("*.json")}
    resumed = subprocess.run(
        command, env=environment, check=True, text=True, stdout=subprocess.PIPE, timeout=120
    )
    assert resumed.stdout == f"{summary}\n" and results() == undisturbed
    assert 5 <= len(scored) < len(list(cache.rglob("*.json")))
    assert {path: path.stat().st_mtime_ns for path in scored} == scored


def test_a_search_of_more_trials_continues_one_of_fewer(project):
    run(count=3)
    first = table()
    run()
    assert table()[:3] == first and len(table()) == TRIALS


def test_the_current_values_are_the_first_trial_if_the_space_contains_them(project):
    run(count=2)
    first = table()[0]
    assert (first["learning_rate"], first["options.ecmf.width"], first["epochs"]) == (
        "0.01", "8", "3",
    )  # fmt: skip
    run(["learning_rate=0.02:0.1"], count=1)
    assert float(table()[0]["learning_rate"]) >= 0.02


def test_the_written_preset_applies_the_best_values(project, tmp_path, monkeypatch):
    run()
    monkeypatch.setattr(preset, "PRESETS", tmp_path)
    written = yaml.safe_load(Path("params.yaml").read_text())
    apply_overrides(Path("params.yaml"), preset.overrides("swept", written))
    made = load_params().train_fusion
    complete = [line for line in table() if line["state"] == "complete"]
    best = max(complete, key=lambda line: float(line["validation_score"]))
    assert made.learning_rate == float(best["learning_rate"])
    assert made.epochs == int(best["epochs"])
    assert made.options["ecmf"] == {
        **TRAINING["options"]["ecmf"], "width": int(best["options.ecmf.width"])
    }  # fmt: skip
    assert made.folds == TRAINING["folds"]
    assert Path("swept.yaml").read_text().startswith("# Swept: train_fusion with ecmf on made, the")


@pytest.mark.parametrize(
    ("model", "options"), [("ecmf", {"width", "dropout"}), ("mult", {"width", "dropout"})]
)
def test_without_a_space_default_ranges_of_keys_are_searched_written_or_not(
    project, model, options
):
    params = load_params().train_fusion.model_copy(update={"model": model})
    space = search_space.read_space([], params)
    assert set(space) == {*search_space.DEFAULTS, *(f"options.{model}.{name}" for name in options)}
    assert "weight_decay" not in TRAINING and "mult" not in TRAINING["options"]


def test_an_option_that_params_yaml_does_not_hold_is_swept_and_its_preset_applies(
    project, tmp_path, monkeypatch
):
    run(["options.ecmf.residual=true,false", "weight_decay=0.1,0.2"], count=2)
    monkeypatch.setattr(preset, "PRESETS", tmp_path)
    written = yaml.safe_load(Path("params.yaml").read_text())
    assert "residual" not in written["train_fusion"]["options"]["ecmf"]
    apply_overrides(Path("params.yaml"), preset.overrides("swept", written))
    made = load_params().train_fusion
    assert made.options["ecmf"].keys() == {*TRAINING["options"]["ecmf"], "residual"}
    assert made.weight_decay in (0.1, 0.2)


def test_an_invalid_combination_is_recorded_and_the_search_continues(project):
    run(["options.ecmf.width=4,6", "options.ecmf.heads=2,4"], count=10)
    lines = table()
    refused = [line for line in lines if line["state"] == "refused"]
    assert refused and len(refused) < len(lines)
    for line in lines:
        disagree = int(line["options.ecmf.width"]) % int(line["options.ecmf.heads"]) > 0
        assert disagree == (line["state"] == "refused")
    assert "width 6 is no multiple of heads 4" in refused[0]["reason"]


def test_a_search_without_a_valid_trial_fails_with_the_reason(project):
    with pytest.raises(ParamsError, match=r"none of the 2 trials .*width . is no"):
        run(["options.ecmf.width=5,7"], count=2)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("learning_rat=0:1", "no such value to sweep.*Did you mean 'learning_rate'"),
        ("options.ecmf.widht=4,8", "Did you mean 'options.ecmf.width'"),
        ("options.concat.width=4,8", "with model ecmf has no such value"),
        ("folds=2,3", "--space folds: it cannot be swept"),
        ("learning_rate", "write KEY=RANGE, e.g. learning_rate=log"),
        ("epochs=2.5:4", "invalid literal for int.*'2.5'"),
        ("epochs=4:2", "4 is not below 2"),
        ("learning_rate=log:0:1", "--space learning_rate=log:0:1: .*low"),
        ("learning_rate=0:inf", "0 is not below inf"),
        ("learning_rate=-1:1", "--space learning_rate: train_fusion: .*greater than 0 .got -1"),
        ("options.ecmf.dropout=0:1", "less than 1 .got 1.0"),
        ("batch_size=16", "two or more different values"),
        ("batch_size=16,16", "two or more different values"),
        ("model=ecmf,concat", "it cannot be swept"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(project, argument, message):
    with pytest.raises(ParamsError, match=message):
        run([argument])
    assert not Path("metrics/sweep.csv").exists()


def test_a_key_given_twice_is_refused(project):
    with pytest.raises(ParamsError, match="mixup appears twice"):
        run(["mixup=0:1", "mixup=0:0.5"])


def test_a_range_is_of_integers_where_the_parameter_is_an_integer():
    params = TrainFusion.model_validate(TRAINING)
    arguments = ["mixup=0:1", "epochs=log:2:40", "learning_rate=1e-3,1"]
    space = search_space.read_space(arguments, params)
    assert isinstance(space["mixup"], optuna.distributions.FloatDistribution)
    assert isinstance(space["epochs"], optuna.distributions.IntDistribution)
    assert list(map(repr, space["learning_rate"].choices)) == ["0.001", "1.0"]


def test_drawn_floats_are_rounded_as_the_preset_writes_them():
    space = {
        "learning_rate": optuna.distributions.FloatDistribution(1e-4, 1e-2),
        "epochs": optuna.distributions.IntDistribution(1, 20_000),
        "weight_decay": optuna.distributions.CategoricalDistribution((0.03125, 0.5)),
    }
    drawn = {"learning_rate": 0.0031622776601683795, "epochs": 12345, "weight_decay": 0.03125}
    rounded = search_space.round_values(drawn, space)
    assert rounded == {"learning_rate": 0.00316, "epochs": 12345, "weight_decay": 0.03125}


class Scripted:
    """An objective whose trials have these scores, fold by fold."""

    params = TrainFusion.model_validate(TRAINING)

    def __init__(self, trials):
        self.trials, self.trained = [list(scores) for scores in trials], []

    def folds(self, seed):
        self.trained.append([])
        return [0, 1, 2]

    def train(self, params, fold, seed):
        self.trained[-1].append(fold)
        return objective.ValidationScore(self.trials[len(self.trained) - 1][fold], None)

    def why_invalid(self, params):
        return ""


def test_a_trial_below_the_median_is_pruned_after_two_folds_and_not_before():
    complete = [(score, score, score) for score in (0.5, 0.6, 0.7, 0.8, 0.9)]
    poor = (0.9, 0.48, 0.9)  # its mean of two is 0.69: an easy first fold does not save it
    fair = (
        0.1,
        1.3,
        0.7,
    )  # its mean of two is the median, 0.7: a hard first fold does not prune it
    scripted = Scripted([*complete, poor, fair])
    space = {"learning_rate": optuna.distributions.FloatDistribution(1e-3, 1e-1)}
    trials = search.search(scripted, space, 7, seed=0)
    assert [trial.state for trial in trials] == ["complete"] * 5 + ["pruned", "complete"]
    assert trials[5].by_fold == [0.9, 0.48] and scripted.trained[5] == [0, 1]
    assert all(folds == [0, 1, 2] for folds in scripted.trained[:5] + scripted.trained[6:])


def test_no_trial_is_pruned_before_five_are_complete():
    trials = [(score, score, score) for score in (0.9, 0.8, 0.7, 0.6, 0.5)]
    space = {"learning_rate": optuna.distributions.FloatDistribution(1e-3, 1e-1)}
    found = search.search(Scripted(trials), space, 5, seed=0)
    assert [trial.state for trial in found] == ["complete"] * 5


def test_pruned_trials_of_a_search_are_trained_on_fewer_folds(project):
    run(["learning_rate=log:1e-2:1e-1"], count=12)
    pruned = [line for line in table() if line["state"] == "pruned"]
    assert pruned and all(line["folds"] == "2" for line in pruned)


def test_equal_scores_have_no_gain_and_the_interval_is_students():
    pairs = [(0.8, 0.7), (0.9, 0.6), (0.7, 0.5)]
    scored = [objective.ValidationScore(*pair) for pair in pairs]
    assert "+0.000 validation WAF (+0.000 to +0.000)" in report.describe_gain(scored, scored, "waf")
    assert "no significant gain" in report.comparison_table(scored, scored, (1, 2, 3), "waf")
    scores = np.array([0.8, 0.9, 0.7])
    expected = stats.t.interval(0.95, 2, scores.mean(), stats.sem(scores))
    assert report.interval(scores) == pytest.approx(expected)
    better = [objective.ValidationScore(first + 0.05, second) for first, second in pairs]
    assert "no significant gain" not in report.comparison_table(scored, better, (1, 2, 3), "waf")


def test_the_best_values_are_trained_on_seeds_and_folds_that_the_search_did_not_use(project):
    summary = run()
    assert "seeds 1 2, mean WAF per seed" in summary
    for line in ("validation folds, unchanged", "validation folds, swept", "difference",
                 "val split, not searched, swept"):  # fmt: skip
        assert line in summary
    params = load_params().train_fusion
    clips, _ = objective.hide_test_labels(project, targets_of(project), params, 0)
    cuts = [make_folds(clips, 3, 2, seed)[0].validation.tolist() for seed in (0, 1, 2)]
    assert cuts[0] != cuts[1] != cuts[2]


def test_a_preset_that_no_sweep_wrote_is_not_overwritten(project):
    Path("mine.yaml").write_text("# Mine\ntrain_fusion: {mixup: 0.1}\n")
    with pytest.raises(ParamsError, match=r"mine\.yaml: not written by a sweep"):
        run(name="mine.yaml")
    run(count=1)
    run(count=1)  # the preset of an earlier sweep is overwritten


def test_a_sweep_needs_validation_folds(project):
    params = TrainFusion(folds=0)
    with pytest.raises(ParamsError, match="folds is 0: a sweep needs validation folds"):
        objective.Objective({}, project, targets_of(project), params)


def test_a_mistake_on_the_command_line_is_one_line_of_error(project):
    command = [*SWEEP, "--space", "mixed=0:1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith("error: --space mixed: ") and done.stderr.count("\n") == 1
