"""The table of experiments, of a small DVC repository with real runs."""

import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from repository import run

from ecmf.cli.experiments import HEADER, WIDTH, _layout, command, experiments
from ecmf.errors import MissingFileError

PARAMS = {
    "corpus": "sample",
    "refine_labels": {"folds": 5},
    "train_fusion": {
        "model": "ecmf",
        "folds": 5,
        "seeds": [0, 1],
        "options": {"mult": {"layers": 1}, "egmf": {"layers": 1}, "semmim": {"model": "ecmf"}},
        "encoders": {"motion": {"encoder": "motion"}},
    },
}
STAGE = """
import json, pathlib, yaml
params = yaml.safe_load(open("params.yaml"))["train_fusion"]
waf = {"ecmf": 0.75, "mult": 0.5, "concat": 0.875}[params["model"]]
scores = {"waf": waf, "waf_low": waf - 0.1, "waf_high": waf + 0.1, "clips": 60}
pathlib.Path("evaluation.json").write_text(json.dumps({"test": scores, "val": {"waf": 0.25}}))
"""
PIPELINE = {
    "stages": {
        "train_fusion": {
            "cmd": f"{sys.executable} stage.py",
            "deps": ["stage.py"],
            "params": ["train_fusion", "corpus"],
            "metrics": [{"evaluation.json": {"cache": False}}],
        }
    }
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a repository with a commit and the scores of its stage."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "params.yaml").write_text(yaml.safe_dump(PARAMS, sort_keys=False))
    (folder / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE))
    (folder / "stage.py").write_text(STAGE)
    run(folder, "git", "init", "--quiet")
    run(folder, "dvc", "init", "--quiet")
    run(folder, sys.executable, "stage.py")
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", "first")
    return folder


@pytest.fixture(scope="module")
def lab(project: Path) -> Path:
    """Run two experiments, one of them from a queue with one that fails, and queue another."""
    experiment = ("dvc", "exp", "run", "--quiet")
    run(project, *experiment, "--queue", "-n", "worse", "-S", "train_fusion.model=mult",
        "-S", "train_fusion.options.mult.layers=2", "-S", "train_fusion.folds=3")  # fmt: skip
    run(project, *experiment, "--queue", "-n", "broken", "-S", "train_fusion.model=ecmf2")
    run(project, *experiment, "--run-all")
    run(project, *experiment, "-n", "better", "-S", "train_fusion.model=concat",
        "-S", "train_fusion.seeds=[0, 7]", "-S", "~train_fusion.encoders.motion.encoder",
        "-S", "+train_fusion.encoders.windows={encoder: librosa, seconds: 1.5}")  # fmt: skip
    run(project, "git", "checkout", "--quiet", ".")
    run(project, *experiment, "--queue", "-n", "waiting", "-S", "corpus=mine")
    return project


@pytest.fixture
def table(lab: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(lab)
    return experiments(1, best_first=False).splitlines()


def line(table: list[str], name: str) -> str:
    (found,) = (line for line in table if line.split()[0] == name)
    return found


def names(table: list[str]) -> list[str]:
    return [line.split()[0] for line in table]


def test_a_project_without_an_experiment_says_how_to_make_one(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    header, workspace, commit, hint = experiments(1, best_first=False).splitlines()
    assert header.split()[:2] == ["experiment", "changes"]
    assert " ".join(workspace.split()) == "workspace waf 0.750 0.650 to 0.850"
    assert "waf 0.750  0.650 to 0.850" in commit
    assert "`dvc exp run -S train_fusion.model=baseline`" in hint


def test_experiments_are_the_newest_first_below_their_commit(table: list[str]) -> None:
    assert names(table)[1] == "workspace"
    assert names(table)[3:] == ["better", "worse", "waiting", "broken"]
    assert all(line.startswith("  ") for line in table[3:])


def test_the_best_score_is_first_on_request(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lab)
    assert names(experiments(1, best_first=True).splitlines())[3:5] == ["better", "worse"]


def test_a_change_has_the_shortest_name_that_is_unambiguous(table: list[str]) -> None:
    assert "  model=mult train_fusion.folds=3 mult.layers=2  " in line(table, "worse")


def test_a_parameter_that_is_gone_has_a_tilde(table: list[str]) -> None:
    assert "  model=concat seeds=[0,7] ~motion.encoder windows.encoder=" in line(table, "better")


def test_a_score_has_its_interval(table: list[str]) -> None:
    assert "  waf 0.500  0.400 to 0.600  " in line(table, "worse")


def test_an_experiment_that_has_no_score_shows_its_state(table: list[str]) -> None:
    assert line(table, "waiting").split()[1:3] == ["corpus=mine", "queued"]
    assert line(table, "broken").split()[1:3] == ["model=ecmf2", "failed"]


def test_long_changes_are_cut_and_names_are_not(table: list[str]) -> None:
    assert max(map(len, table)) == WIDTH
    assert "…" in line(table, "better")
    name = "n" * WIDTH
    cut, _ = _layout([(name, "changes=" + "x" * 50, "waf 0.5", "now"), HEADER]).splitlines()
    assert cut.split() == [name, "changes=xxx…", "waf", "0.5", "now"]


def test_experiments_of_older_commits_are_shown_on_request(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lab)
    run(lab, "git", "commit", "--quiet", "--allow-empty", "--message", "second")
    run(lab, "git", "commit", "--quiet", "--allow-empty", "--message", "third")
    try:
        assert names(experiments(1, best_first=False).splitlines())[3:] == ["no"]
        (_, *lines) = CliRunner().invoke(command, ["--all-commits"]).output.splitlines()
        first = run(lab, "git", "rev-parse", "--short=7", "HEAD~2").strip()
        assert names(lines)[2:] == [first, "better", "worse", "waiting", "broken"]
    finally:
        run(lab, "git", "reset", "--quiet", "--hard", "HEAD~2")


def test_a_folder_that_is_no_project_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingFileError, match="run from the project's root"):
        experiments(1, best_first=False)
