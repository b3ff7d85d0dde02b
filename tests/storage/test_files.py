import hashlib
from pathlib import Path

import pytest

from ecmf.errors import MissingFileError
from ecmf.storage.files import locate, verify_sha256

NAME = Path("data/raw/a.wav")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a project with a file, and DVC's copy for an experiment without it."""
    (tmp_path / NAME).parent.mkdir(parents=True)
    (tmp_path / NAME).write_text("in the project")
    (tmp_path / ".dvc/tmp/exps/tmp1234/data/manifests").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def experiment(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = project / ".dvc/tmp/exps/tmp1234"
    monkeypatch.chdir(copy)
    return copy


def test_an_experiment_finds_a_file_that_is_only_in_the_project(
    project: Path, experiment: Path
) -> None:
    assert locate(NAME) == project / NAME


def test_an_experiment_prefers_its_own_file(experiment: Path) -> None:
    (experiment / NAME).parent.mkdir(parents=True)
    (experiment / NAME).write_text("of the experiment")
    assert locate(NAME).read_text() == "of the experiment"


def test_an_absolute_path_and_one_of_an_absent_file_stay_as_they_are(
    project: Path, experiment: Path
) -> None:
    assert locate(Path("data/raw/none.wav")) == Path("data/raw/none.wav")
    assert locate(experiment / NAME) == experiment / NAME


def test_a_folder_in_a_project_that_is_no_experiment_has_only_its_own_files(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project / ".dvc/tmp")
    assert locate(NAME) == NAME


def test_an_experiment_verifies_a_file_of_the_project_and_names_it_as_the_parameters_do(
    project: Path, experiment: Path
) -> None:
    digest = hashlib.sha256(b"in the project").hexdigest()
    assert verify_sha256(str(NAME), digest, "") == project / NAME
    with pytest.raises(MissingFileError, match=f"^'{NAME}' has sha256 {digest}, expected none"):
        verify_sha256(str(NAME), "", "")
