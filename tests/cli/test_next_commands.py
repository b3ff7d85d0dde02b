"""The commands printed by `ecmf index` are the right ones for the corpus."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from ecmf.cli.next_commands import next_commands
from ecmf.data.manifest import Clip
from ecmf.params import load_params

ROOT = Path(__file__).resolve().parents[2]
CLIPS = [Clip(f"{n}", group=f"s{n % 12}", label="ab"[n % 24 // 12]) for n in range(48)]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a repository with the parameters and the .gitignore of the project."""
    for name in ("params.yaml", ".gitignore"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    subprocess.run(["git", "init", "--quiet"], check=True)
    return tmp_path


def commands(corpus: str, name: str, clips: list[Clip] = CLIPS) -> list[str]:
    lines = next_commands(corpus, Path(f"data/manifests/{name}.csv"), clips)
    return [line.strip() for line in lines if line.startswith("  ")]


def test_a_manifest_goes_to_git_before_the_run(project: Path) -> None:
    assert commands("folder", "mine") == [
        "git add data/manifests/mine.csv",
        "dvc exp run -S corpus=mine",
    ]


def test_the_run_takes_the_preset_of_the_corpus(project: Path) -> None:
    assert commands("meld", "meld")[-1] == "dvc exp run $(ecmf preset meld) -S corpus=meld"
    assert commands("meld", "meld2")[-1] == "dvc exp run $(ecmf preset meld) -S corpus=meld2"


@pytest.mark.parametrize("corpus", ["mer2025", "folder"])
def test_a_manifest_that_git_ignores_goes_to_dvc(project: Path, corpus: str) -> None:
    assert commands(corpus, "mer2025_small")[:2] == [
        "dvc add data/manifests/mer2025_small.csv",
        "git add data/manifests/mer2025_small.csv.dvc",
    ]


def test_the_manifest_of_the_generated_corpus_is_left_to_the_pipeline(project: Path) -> None:
    assert len(commands("sample", "sample")) == 1


def test_a_small_corpus_gets_settings_that_dvc_takes(project: Path) -> None:
    small = [clip for clip in CLIPS if clip.group in ("s0", "s1", "s2", "s3")]
    run = commands("folder", "mine", small)[-1]
    apply_overrides(project / "params.yaml", [word for word in shlex.split(run) if "=" in word])
    params = load_params()
    assert (params.corpus, params.train_fusion.folds, params.train_fusion.outer_folds) == (
        "mine", 3, 4,
    )  # fmt: skip
    assert commands("folder", "mine", small)[-1] == "dvc exp run -S corpus=mine"


def test_a_corpus_that_cannot_be_divided_is_told_so(project: Path) -> None:
    lines = next_commands("folder", Path("data/manifests/mine.csv"), CLIPS[:1])
    assert lines[0].startswith("too small to be divided into folds")


def test_a_queue_is_explained(project: Path) -> None:
    text = " ".join(next_commands("folder", Path("data/manifests/mine.csv"), CLIPS))
    assert "commit the manifest, add --queue, then `dvc exp run --run-all`" in text


@pytest.mark.parametrize("count", [3, 300])
def test_a_corpus_without_labels_is_told_what_it_lacks(project: Path, count: int) -> None:
    clips = [Clip(f"{n}", group=f"{n}", split="unlabelled") for n in range(count)]
    (line,) = next_commands("folder", Path("data/manifests/mine.csv"), clips)
    assert line.startswith(f"none of the {count} clips is of the split train and labelled")
