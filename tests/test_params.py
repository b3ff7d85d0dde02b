import re
from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from ecmf import registry
from ecmf.errors import MissingFileError, ParamsError
from ecmf.params import chosen, load_params

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = {
    "decode_video": "decoders",
    "crop_faces": "detectors",
    "enrich_text": "llms",
    "refine_labels": "refiners",
    "train_fusion": "fusion",
}
ENCODERS = {
    "encode_frames": "encoders.image",
    "encode_faces": "encoders.image",
    "encode_audio": "encoders.audio",
    "encode_text": "encoders.text",
}


def changed(tmp_path, change):
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    change(content)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_project_s_own_parameters_are_valid_with_every_plugin_s_options():
    params = load_params(ROOT / "params.yaml")
    for section, family in OPTIONS.items():
        for plugin, options in getattr(params, section).options.items():
            assert registry.check_options(family, plugin, options)
    for section, family in ENCODERS.items():
        for choice in getattr(params, section).encoders.values():
            assert registry.check_options(family, choice.encoder, choice.options)


def test_options_stand_there_only_where_they_differ_from_the_plugin_s_defaults():
    params = load_params(ROOT / "params.yaml")
    written = [
        (family, plugin, options)
        for section, family in OPTIONS.items()
        for plugin, options in getattr(params, section).options.items()
    ]
    written += [
        (family, choice.encoder, choice.options)
        for section, family in ENCODERS.items()
        for choice in getattr(params, section).encoders.values()
    ]
    for family, plugin, options in written:
        fields = registry.load(family, plugin).Options.model_fields
        for name, value in options.items():
            default = fields[name].get_default(call_default_factory=True)
            assert value != default, f"{family} {plugin}: {name} is {default} by default"


def test_an_option_is_changed_by_its_name_again_and_again_and_taken_back(tmp_path):
    path = tmp_path / "params.yaml"
    original = (ROOT / "params.yaml").read_text()
    path.write_text(original)
    for layers in (2, 2, 3):
        apply_overrides(path, [f"++train_fusion.options.mult.layers={layers}"])
        assert load_params(path).train_fusion.options == {"mult": {"layers": layers}}
    apply_overrides(path, ["~train_fusion.options.mult"])
    assert yaml.safe_load(path.read_text()) == yaml.safe_load(original)


@pytest.mark.parametrize("key", ["options", "tables", "thresholds", "encoders"])
def test_no_comment_stands_on_the_line_of_a_table_that_may_become_empty(key):
    """DVC would write `{}` on a line of its own, which is not YAML."""
    lines = re.findall(rf"^ +{key}:.*$", (ROOT / "params.yaml").read_text(), re.MULTILINE)
    assert lines
    assert not [line for line in lines if "#" in line]


@pytest.mark.parametrize(("section", "family"), list(OPTIONS.items()))
def test_options_of_a_plugin_that_is_not_there_are_refused_with_a_guess(tmp_path, section, family):
    plugin = registry.names(family)[-1]

    def change(content):
        content[section]["options"] = {plugin[:-1]: {}}

    with pytest.raises(
        ParamsError, match=rf"{section}\.options: .*in {family}: .*Did you mean '{plugin}'"
    ):
        load_params(changed(tmp_path, change))


def test_a_typo_names_the_key_and_the_one_that_was_meant(tmp_path):
    def change(content):
        content["decode_video"]["framse"] = 8

    with pytest.raises(ParamsError, match=r"decode_video\.framse: .*Did you mean 'frames'"):
        load_params(changed(tmp_path, change))


def test_all_faults_stand_in_one_message(tmp_path):
    def change(content):
        content["decode_video"]["frames"] = 0
        content["crop_faces"]["crop_pixels"] = "wide"

    with pytest.raises(ParamsError, match=r"decode_video\.frames.*(\n.*)*crop_faces\.crop_pixels"):
        load_params(changed(tmp_path, change))


def test_an_unknown_encoder_lists_those_there_are_and_guesses(tmp_path):
    def change(content):
        content["encode_audio"]["encoders"]["mine"] = {"encoder": "libros"}

    with pytest.raises(
        ParamsError, match=r"no 'libros' in encoders\.audio.*Did you mean 'librosa'"
    ):
        load_params(changed(tmp_path, change))


def test_a_name_that_cannot_be_a_file_name_is_refused(tmp_path):
    def change(content):
        content["encode_audio"]["encoders"]["../mine"] = {"encoder": "librosa"}

    with pytest.raises(ParamsError, match="becomes a file name"):
        load_params(changed(tmp_path, change))


def test_an_encoder_that_is_not_in_the_table_is_refused_with_a_guess():
    table = load_params(ROOT / "params.yaml").encode_audio.encoders
    with pytest.raises(ParamsError, match=r"no encoder 'libros' in the table.*'librosa'"):
        chosen(table, "libros")


def test_an_unknown_option_of_a_plugin_is_refused():
    with pytest.raises(
        ParamsError, match=r"options of fusion plugin 'ecmf': dropot.*Did you mean 'dropout'"
    ):
        registry.check_options("fusion", "ecmf", {"dropot": 0.1})


def test_a_table_is_never_empty_and_action_units_are_an_encoder_of_faces(tmp_path):
    def empty(content):
        content["encode_faces"]["encoders"] = {}

    def unknown(content):
        content["enrich_text"]["action_units"] = "gradient"

    with pytest.raises(ParamsError, match=r"encode_faces\.encoders: .*keep one encoder"):
        load_params(changed(tmp_path, empty))
    with pytest.raises(ParamsError, match=r"action_units is 'gradient'.*Did you mean 'gradients'"):
        load_params(changed(tmp_path, unknown))


def test_a_dialogue_is_read_only_where_its_lines_are_kept(tmp_path):
    def change(content):
        content["encode_text"]["encoders"]["raw"]["view"] = "context"

    def mend(content):
        change(content)
        content["enrich_text"]["context_lines"] = 2

    with pytest.raises(
        ParamsError, match=r"encoders\.raw has view 'context', but .*context_lines is 0"
    ):
        load_params(changed(tmp_path, change))
    assert load_params(changed(tmp_path, mend)).enrich_text.context_lines == 2


def test_text_that_is_no_yaml_and_an_absent_file_are_named(tmp_path):
    (tmp_path / "params.yaml").write_text("a: [1,")
    with pytest.raises(ParamsError, match=r"params\.yaml is not YAML"):
        load_params(tmp_path / "params.yaml")
    with pytest.raises(MissingFileError, match="run from the project's root"):
        load_params(tmp_path / "none.yaml")


def bomb(levels):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"corpus: caf\xe9\n", "is not UTF-8"),
        (b"corpus: a\0b\n", "is not YAML"),
        (b"corpus: 2020-99-99\n", "is not YAML"),
        (b"seed: 1" + b"0" * 5000 + b"\n", "is not YAML"),
        (b"a: " + b"[" * 20_000, "is not YAML"),
        (b"a: &a [*a]\n", "more than 100,000 values"),
        (bomb(9).encode(), "more than 100,000 values"),
        (bomb(4).encode(), "is not valid"),
        (b"corpus: {x: '" + b"long" * 100_000 + b"'}", "is not valid"),
        (b"- a\n", "is not valid"),
        (b"", "is not valid"),
    ],
)
def test_a_hostile_file_is_a_short_error(tmp_path, text, message):
    (tmp_path / "params.yaml").write_bytes(text)
    with pytest.raises(ParamsError, match=message) as error:
        load_params(tmp_path / "params.yaml")
    assert len(str(error.value)) < 30_000


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_infinity_and_nan_are_no_numbers(tmp_path, value):
    def change(content):
        content["train_fusion"]["weight_decay"] = value
        content["train_fusion"]["options"] = {}

    with pytest.raises(ParamsError, match=r"weight_decay: Input should be a finite number"):
        load_params(changed(tmp_path, change))
    with pytest.raises(ParamsError, match="finite number"):
        registry.check_options("fusion", "ecmf", {"dropout": value})
