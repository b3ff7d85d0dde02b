"""A queued experiment on one's own corpus, with the commands that `ecmf index` prints."""

import os
import subprocess
import sys
from pathlib import Path

import dvc.api
import pytest
from checkout import copy_project
from filming import film

from ecmf.storage.store import Store

IDENTITY = {f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")}  # fmt: skip


def run(folder: Path, *arguments: str) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, **IDENTITY, "PATH": path, "GIT_CONFIG_GLOBAL": os.devnull}
    environment["PYTHONPATH"] = str(folder / "stages")
    done = subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Copy the project into a repository with three clips in a folder that git ignores."""
    copy_project(tmp_path, without={"dvc.lock"})
    run(tmp_path, "git", "init", "--quiet")
    run(tmp_path, "git", "add", "--all")
    run(tmp_path, "git", "commit", "--quiet", "--message", "first")
    clips = tmp_path / "data/raw/mine"
    clips.mkdir(parents=True)
    rows = [f"{name},{film(clips / f'{name}.mp4', 5).name},sad" for name in "abc"]
    (clips / "clips.csv").write_text("\n".join(["clip_id,video,label", *rows, ""]))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mine", "mer2025_mine"])  # kept by git, and by DVC alone
def test_a_queued_experiment_decodes_clips_that_git_ignores(project: Path, name: str) -> None:
    index = ("-m", "ecmf", "index", "folder", "data/raw/mine", "--name", name)
    printed = run(project, sys.executable, *index).splitlines()
    commands = [line.split() for line in printed if line.startswith("  ") and " add " in line]
    assert commands
    for command in commands:
        run(project, *command)
    experiment = ("dvc", "exp", "run", "--quiet")
    run(project, *experiment, "--queue", "-n", "first", "-S", f"corpus={name}", "decode_video")
    run(project, *experiment, "--run-all")
    table = run(project, sys.executable, "-m", "ecmf", "experiments")
    assert "failed" not in table and "queued" not in table
    with dvc.api.open("data/frames.h5", project, rev="first", mode="rb") as frames:
        (project / "frames.h5").write_bytes(frames.read())
    with Store(project / "frames.h5") as store:
        assert [len(store[name].values) for name in "abc"] == [5, 5, 5]
