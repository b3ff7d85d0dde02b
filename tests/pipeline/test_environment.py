"""The installed packages are those of the lock files, and none overwrites another."""

import importlib.metadata
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked(name):
    lines = (ROOT / name).read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}


RUNTIME = locked("requirements.lock")
TEST = locked("requirements-test.lock")
EXTRAS = PROJECT["optional-dependencies"]


@pytest.mark.parametrize("asked", PROJECT["dependencies"] + EXTRAS["sample-voice"])
def test_the_lock_holds_what_the_project_asks_for(asked):
    requirement = Requirement(asked)
    assert requirement.specifier.contains(RUNTIME[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("asked", EXTRAS["test"])
def test_the_test_lock_adds_what_the_tests_ask_for(asked):
    requirement = Requirement(asked)
    pinned = {**RUNTIME, **TEST}[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pinned)


def test_exactly_one_onnxruntime_stands_and_it_is_the_one_for_this_machine():
    """Both own the same folder: together, CUDA vanishes without a word."""
    standing = {
        name
        for name in ("onnxruntime", "onnxruntime-gpu")
        if any(importlib.metadata.distributions(name=name))
    }
    driver = (
        shutil.which("nvidia-smi")
        and not subprocess.run(["nvidia-smi", "-L"], capture_output=True, check=False).returncode
    )
    assert standing == {"onnxruntime-gpu" if driver else "onnxruntime"}


@pytest.mark.parametrize("absent", ["torchvision", "torchaudio", "torchcodec", "decord"])
def test_packages_that_break_the_others_are_not_installed(absent):
    assert not any(importlib.metadata.distributions(name=absent))
    assert absent not in RUNTIME


def test_torch_is_the_version_everything_was_measured_with():
    assert RUNTIME["torch"] == "2.13.0"
    assert importlib.metadata.version("torch").split("+")[0] == "2.13.0"


def test_the_citation_has_what_the_format_requires_and_says_what_the_package_says():
    """Citation File Format 1.2.0, whose schema requires these keys."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert all("name" in author for author in citation["authors"])
    assert (citation["cff-version"], citation["type"]) == ("1.2.0", "software")
    assert citation["version"] == PROJECT["version"] and citation["license"] == PROJECT["license"]
    for reference in citation["references"]:
        assert {"authors", "title", "type"} <= set(reference)


def test_the_image_installs_the_lock_as_make_does_and_copies_what_it_names():
    image, make = (ROOT / "Dockerfile").read_text(), (ROOT / "Makefile").read_text()
    for arguments in ("-r requirements.lock", "s/^onnxruntime==//p"):
        assert arguments in image and arguments in make
    copied = re.findall(r"^COPY (.+) \S+$", image, re.MULTILINE)
    seen = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines()}
    for name in " ".join(copied).split():
        assert (ROOT / name).exists() and name in seen
    (python,) = re.findall(r"^FROM python:([\d.]+)-", image, re.MULTILINE)
    assert SpecifierSet(PROJECT["requires-python"]).contains(python)
