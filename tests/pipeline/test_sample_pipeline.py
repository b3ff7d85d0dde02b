"""The sample corpus is made if it is the corpus, and only then."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import copy_project
from dvc.utils.hydra import apply_overrides

MAKE_SAMPLE = "data/sample/dvc.yaml:make_sample"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    copy_project(folder, without={"dvc.lock", "data/sample/dvc.lock"})
    (folder / "data/manifests").mkdir(parents=True)
    (folder / "data/manifests/mine.csv").write_text("clip_id\n")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


def planned(project, *changes, command=("repro",)):
    """Return the first stages that DVC would run: it stops at a file that an earlier one makes."""
    apply_overrides(project / "params.yaml", list(changes))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["dvc", *command, "--dry"], cwd=project, env={**os.environ, "PATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return re.findall(r"Running stage '([^']+)'", done.stdout + done.stderr)


def test_the_sample_is_made_first_if_it_is_the_corpus(project):
    assert planned(project, "corpus=sample")[0] == MAKE_SAMPLE


def test_another_corpus_makes_no_sample(project):
    assert planned(project, "corpus=mine")[0] == "decode_video"


def test_it_is_made_alone_by_its_own_file_whatever_the_corpus(project):
    assert planned(project, "corpus=mine", command=("repro", "data/sample/dvc.yaml")) == [
        MAKE_SAMPLE
    ]
