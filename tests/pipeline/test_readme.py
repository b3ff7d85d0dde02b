"""The commands of the README exist, and its example works."""

import re
from pathlib import Path

import click
import numpy as np
import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from ecmf import registry
from ecmf.cli.main import COMMANDS, main
from ecmf.media import Images
from ecmf.params import load_params

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "data/README.md", "benchmarks/README.md")
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
FAMILIES = re.findall(r"^\| `([\w/]+)/`", README, re.MULTILINE)


def test_it_fits_on_a_few_screens():
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_script_a_document_names_is_there(document):
    paths = re.findall(
        r"(?<![\w/])(?:stages|benchmarks|tests)/[\w/]+\.\w+", (ROOT / document).read_text()
    )
    assert [path for path in paths if not (ROOT / path).is_file()] == []


def test_every_make_target_it_names_is_there():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make ([a-z]+(?:-[a-z]+)?)\b", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_every_subcommand_it_names_is_there_and_shows_an_example():
    named = set(re.findall(r"(?:\$ |\$\(|`)ecmf (\w+)", README))
    assert {"index", "import", "preset", "sweep", "submit"} <= named <= set(COMMANDS)
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        assert "Example:" in command.help and f"ecmf {name}" in command.help


@pytest.mark.parametrize("key", sorted(set(re.findall(r"-S\s+'?([\w.]+)=", README))))
def test_every_parameter_it_changes_is_one(key):
    node = PARAMS
    for step in key.split("."):
        assert step in node
        node = node[step]


CHANGES = re.findall(r"-S\s+('[^']+'|[\w.]+=\w+)", README)


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_it_shows_is_one_that_dvc_takes_and_the_parameters_allow(change, tmp_path):
    params = tmp_path / "params.yaml"
    params.write_text((ROOT / "params.yaml").read_text())
    written = " ".join(change.strip("'").split()).replace("…", "0" * 64)
    apply_overrides(params, [written])
    assert load_params(params) != load_params(ROOT / "params.yaml")


def test_it_shows_how_to_add_and_to_remove_an_encoder_and_names_presets_there_are():
    assert {change[1] for change in CHANGES if change.startswith("'")} >= {"+", "~"}
    for name in re.findall(r"ecmf preset (\w+)", README):
        assert (ROOT / f"stages/ecmf/presets/{name}.yaml").is_file()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_table_of_plugins_is_complete(family):
    (line,) = (line for line in README.splitlines() if line.startswith(f"| `{family}/`"))
    for plugin in registry.names(family.replace("/", ".")):
        assert f"`{plugin}`" in line


def test_its_encoder_encodes():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    module = {}
    exec(code, module)  # noqa: S102 - the README's own example
    pictures = Images("a", [np.full((4, 4, 3), 7, "uint8")] * 2, np.array([0.0, 0.5]))
    function = module["mean_colour"]
    (features,) = function.Encoder(function.Options(power=2))([pictures])
    assert features.values.tolist() == [[49, 49, 49]] * 2
