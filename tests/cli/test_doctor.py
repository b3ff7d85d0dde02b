"""`ecmf doctor` finds what is wrong in broken situations, and names the remedy."""

import errno
import fcntl
import os
import shutil
from pathlib import Path

import numpy
import pytest
import yaml
from click.testing import CliRunner
from huggingface_hub import constants

from ecmf.cli import doctor, doctor_checks
from ecmf.cli.doctor_checks import CHECKS
from ecmf.data.manifest import Clip, write_manifest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """Make a project of one clip that is in order, and work in it."""
    monkeypatch.chdir(tmp_path)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["corpus"] = "mine"
    write_params(params)
    (tmp_path / "requirements.lock").write_text(f"# pins\nnumpy=={numpy.__version__}\n")
    (tmp_path / "a.wav").write_bytes(b"x")
    clip = Clip("a", audio="a.wav", speaker="s", group="s", label="happy", sha256="0" * 64)
    write_manifest([clip], tmp_path / "data/manifests/mine.csv")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return params


def write_params(params):
    Path("params.yaml").write_text(yaml.safe_dump(params))


def finding(name):
    ((_, found),) = doctor.examine({name: CHECKS[name]})
    return found


@pytest.mark.parametrize("name", [name for name in CHECKS if name != "dvc"])
def test_a_project_in_order_has_nothing_to_do(name):
    assert finding(name).result
    assert finding(name).remedy == ""


def use(variable, value):
    return lambda patch: patch.setenv(variable, value)


def write(path, text):
    return lambda _: Path(path).write_text(text)


def no_locks(patch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    patch.setattr(fcntl, "flock", refuse)


@pytest.mark.parametrize(
    ("name", "broken", "remedy"),
    [
        ("packages", write("requirements.lock", "numpy==1.0\n"), "make install"),
        ("packages", write("requirements.lock", "no-such-package==1.0\n"), "make install"),
        ("packages", lambda _: Path("requirements.lock").unlink(), "from the project's root"),
        ("settings", use("ECMF_WORKERS", "many"), "ECMF_WORKERS is 'many'"),
        ("settings", use("ECMF_CACHE_GIGABYTES", "0"), "set it to a number above 0"),
        ("settings", write("params.yaml", "corpus: 3"), "params.yaml is not valid"),
        ("devices", use("ECMF_DEVICE", "cuda:99"), "unset ECMF_DEVICE"),
        ("disk", lambda patch: patch.setattr(doctor_checks, "COPIES", 10**9), "free some space"),
        ("cache", use("ECMF_CACHE", "params.yaml/cache"), "each folder must be a folder"),
        ("locks", no_locks, "core.hardlink_lock true"),
        ("locks", use("HDF5_USE_FILE_LOCKING", "TRUE"), "unset HDF5_USE_FILE_LOCKING"),
        ("manifest", lambda _: Path("a.wav").unlink(), "put them there, or"),
        ("manifest", lambda _: shutil.rmtree("data"), "write it with `ecmf index"),
        ("manifest", write("data/manifests/mine.csv", "clip_id\na\n"), "no column"),
        ("dvc", lambda _: None, "from the project's root"),
        ("dvc", lambda _: Path(".dvc").mkdir(), "mend what `dvc status` says"),
    ],
)
def test_what_is_broken_is_found_with_its_remedy(name, broken, remedy, monkeypatch):
    broken(monkeypatch)
    found = finding(name)
    assert found.result
    assert remedy in found.remedy


def test_a_hub_that_does_not_answer_matters_only_if_an_encoder_needs_it(project, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert finding("hub").remedy == ""
    assert "does not answer (ConnectError); no encoder needs it" in finding("hub").result
    project["encode_frames"]["encoders"]["dino"] = {
        "encoder": "huggingface", "repository": "facebook/dinov2-base", "revision": "0" * 40,
    }  # fmt: skip
    write_params(project)
    assert "needed by encode_frames.dino" in finding("hub").result
    assert "HF_ENDPOINT" in finding("hub").remedy


def test_the_exit_code_says_whether_something_must_be_done(monkeypatch):
    names = ("packages", "manifest")
    monkeypatch.setattr(doctor, "CHECKS", {name: CHECKS[name] for name in names})
    done = CliRunner().invoke(doctor.command)
    assert (done.exit_code, done.output.count("ok ")) == (0, 2)
    Path("a.wav").unlink()
    done = CliRunner().invoke(doctor.command)
    assert done.exit_code == 1
    assert "TODO manifest" in done.output and "-> put them there" in done.output
