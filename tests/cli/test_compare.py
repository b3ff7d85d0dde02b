"""`ecmf compare` in a small git and DVC repository with a real stage and experiments."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from repository import run

from ecmf.cli.compare import command, compare_revisions
from ecmf.cli.experiments import experiments
from ecmf.comparison.revision import read_revision
from ecmf.data.manifest import Clip, write_manifest
from ecmf.errors import ComparisonError, MissingFileError, UserError
from ecmf.metrics import weighted_f1

PARAMS = {"corpus": "mine", "train_fusion": {"model": "ecmf", "outer_folds": 5}}
STAGE = """
import csv, json, pathlib, yaml
model = yaml.safe_load(open("params.yaml"))["train_fusion"]["model"]
wrong = {"ecmf": {0, 3, 6}, "concat": {0, 3}, "mult": {0}}[model]
classes = ["happy", "neutral", "sad"]
columns = [f"probability_{name}" for name in classes]
rows = [["clip_id", "split", "label", "predicted", *columns, "sources"]]
for i, clip in enumerate(csv.DictReader(open("data/manifests/mine.csv"))):
    label = classes.index(clip["label"])
    hard = {5, 6} if model == "concat" and i // 10 % 2 else set()  # of every second speaker
    decided = (label + (i % 10 in wrong | hard)) % 3
    sure = 0.5 + i / 500
    probs = [sure if number == decided else (1 - sure) / 2 for number in range(3)]
    rows.append([clip["clip_id"], clip["split"], clip["label"], classes[decided], *probs, 1])
pathlib.Path("metrics").mkdir(exist_ok=True)
csv.writer(open("metrics/predictions.csv", "w", newline="")).writerows(rows)
scores = {"waf": 1 - len(wrong) / 10}
pathlib.Path("metrics/evaluation.json").write_text(json.dumps({"test": scores}))
"""
PIPELINE = {
    "stages": {
        "evaluate_fusion": {
            "cmd": f"{sys.executable} stage.py",
            "deps": ["stage.py", "data/manifests/mine.csv"],
            "params": ["train_fusion"],
            "outs": ["metrics/predictions.csv"],
            "metrics": [{"metrics/evaluation.json": {"cache": False}}],
        }
    }
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Commit a run of `ecmf`, and experiments with `mult` and `concat`; 20 speakers are tested."""
    folder = tmp_path_factory.mktemp("project")
    clips = [
        Clip(f"c{i:03}", label=("happy", "neutral", "sad")[i % 3], group=f"s{i // 10}",
             split="train" if i < 50 else "test", transcript="hm", sha256="0" * 64)
        for i in range(250)
    ]  # fmt: skip
    write_manifest(clips, folder / "data/manifests/mine.csv")
    (folder / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    (folder / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE))
    (folder / "stage.py").write_text(STAGE)
    (folder / ".gitignore").write_text("/metrics/predictions.csv\n")
    run(folder, "git", "init", "--quiet")
    run(folder, "dvc", "init", "--quiet")
    run(folder, "dvc", "repro", "--quiet")
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", "first")
    for model in ("mult", "concat"):
        run(
            folder, "dvc", "exp", "run", "--quiet", "-n", model, "-S", f"train_fusion.model={model}"
        )
    return folder


@pytest.fixture
def project(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter the project, whose workspace is that of the last experiment, `concat`."""
    monkeypatch.chdir(made)
    return made


def test_two_revisions_are_compared_in_words_and_numbers(project: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    arguments = ["HEAD", "mult", "--clips", "3", "--json", str(report)]
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    lines = done.output.splitlines()
    (found,) = json.loads(report.read_text())
    baseline, other = read_revision("HEAD"), read_revision("mult")
    for revision, key in ((baseline, "baseline"), (other, "other")):
        truth, decided = (
            [baseline.classes.index(name) for name in names]
            for names in (
                [clip.label for clip in revision.test],
                [revision.decision(clip) for clip in revision.test],
            )
        )
        assert found["scores"]["waf"][key] == pytest.approx(weighted_f1(truth, decided))
    waf = found["scores"]["waf"]
    interval = f"{waf['low']:+.3f} to {waf['high']:+.3f}"
    assert any(line.startswith("WAF ") and interval in line for line in lines)
    assert (
        f"mult is better than HEAD: the 95 % interval of its difference in WAF, {interval}, "
        "is above 0." in lines
    )
    assert any("40 clips right in mult alone, 0 in HEAD alone, p < 0.0001" in x for x in lines)
    assert [line.split()[1] for line in lines if line.startswith("  gained")] == [
        "c246,", "c243,", "c236,"
    ]  # fmt: skip
    assert "  train_fusion.model: ecmf -> mult" in lines
    assert found["verdict"] == 1 and found["clips"] == 200 and found["groups"] == 20
    assert len(found["changed"]) == 3 and found["mcnemar"]["gained"] == 40


def test_several_are_a_table_against_the_first(project: Path) -> None:
    table = compare_revisions(["HEAD", "mult", "concat", "workspace"], 10, None).splitlines()
    verdicts = {line.split()[0]: line for line in table[1:5]}
    assert verdicts["HEAD"].endswith("(baseline)")
    assert verdicts["mult"].endswith("  better")
    assert verdicts["concat"].endswith("no difference shown")
    assert verdicts["workspace"].split()[1:] == verdicts["concat"].split()[1:]
    assert "Corrected for 3 comparisons, mult differs from HEAD." in table


def test_the_last_commit_is_compared_with_the_workspace_by_default(project: Path) -> None:
    assert "concat" in read_revision("workspace").params["train_fusion"]["model"]
    text = compare_revisions([], 10, None)
    assert "No difference between workspace and HEAD is shown" in text
    assert compare_revisions(["HEAD"], 10, None) == text
    alike = compare_revisions(["concat"], 10, None)
    assert "workspace decides every test clip as concat does." in alike
    assert "no parameter differs" in alike


def test_parameters_edited_since_the_run_are_a_warning(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(before.replace("concat", "mult"))
    try:
        compare_revisions([], 10, None)
    finally:
        (project / "params.yaml").write_text(before)
    assert "workspace was evaluated before params.yaml was edited (train_fusion.model)" in (
        caplog.text
    )


def test_experiments_are_marked_where_the_difference_to_their_commit_is_certain(
    project: Path,
) -> None:
    *lines, legend = experiments(1, best_first=False).splitlines()
    by_name = {line.split()[0]: line for line in lines}
    assert "  waf 0.900  better  " in by_name["mult"]
    assert "  waf 0.800  open  " in by_name["concat"]
    assert "  waf 0.800  open" in by_name["workspace"]
    assert sum("better" in line or "open" in line for line in lines) == 3
    assert legend.startswith("better, worse: the 95 % interval")


@pytest.mark.parametrize("name", ["nothing", "-x", "--output=x", "..", "HEAD^{/", "a\nb", ""])
def test_a_revision_that_is_none_is_refused(project: Path, name: str) -> None:
    with pytest.raises(MissingFileError, match=rf"no revision {re.escape(repr(name))}: give a"):
        compare_revisions([name], 10, None)
    assert not Path("x").exists()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ("- a list", "has no 'corpus'"),
        ("corpus: ../../../../outside", "has no data/manifests/outside.csv"),
        ("corpus: &a [*a]", "params.yaml has more than"),
    ],
)
def test_parameters_that_are_none_or_lead_elsewhere_are_refused(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: str, message: str
) -> None:
    copy = shutil.copytree(project, tmp_path / "copy", ignore=shutil.ignore_patterns("cache"))
    (copy / "params.yaml").write_text(params)
    monkeypatch.chdir(copy)
    with pytest.raises(UserError, match=message):
        read_revision("workspace")


def test_predictions_that_left_the_cache_are_refused_with_a_remedy(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(project, tmp_path / "copy")
    shutil.rmtree(copy / ".dvc/cache")
    monkeypatch.chdir(copy)
    with pytest.raises(
        MissingFileError, match=r"mult has no metrics/predictions.csv, neither.*dvc"
    ):
        compare_revisions(["workspace", "mult"], 10, None)


def test_a_manifest_of_other_clips_than_the_predictions_is_refused(project: Path) -> None:
    manifest = project / "data/manifests/mine.csv"
    before = manifest.read_text()
    manifest.write_text(before.replace("c249", "c999"))
    try:
        with pytest.raises(ComparisonError, match=r"workspace belongs to another manifest.*c999"):
            compare_revisions([], 10, None)
    finally:
        manifest.write_text(before)


def test_a_folder_that_is_no_project_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingFileError, match="run from the project's root"):
        compare_revisions([], 10, None)
