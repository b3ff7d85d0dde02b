from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from ecmf import registry
from ecmf.errors import MissingFileError, ParamsError
from ecmf.params import chosen, load_params

ROOT = Path(__file__).resolve().parents[1]


def changed(tmp_path, change):
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    change(content)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_project_s_own_parameters_are_valid_with_every_plugin_s_options():
    params = load_params(ROOT / "params.yaml")
    for section, family in (("decode_video", "decoders"), ("crop_faces", "detectors"),
                            ("enrich_text", "llms"), ("refine_labels", "refiners"),
                            ("train_fusion", "fusion")):  # fmt: skip
        for plugin, options in getattr(params, section).options.items():
            assert registry.check_options(family, plugin, options)
    for section, family in (("encode_frames", "image"), ("encode_faces", "image"),
                            ("encode_audio", "audio"), ("encode_text", "text")):  # fmt: skip
        for choice in getattr(params, section).encoders.values():
            assert registry.check_options(f"encoders.{family}", choice.encoder, choice.options)


@pytest.mark.parametrize("name", registry.names("fusion"))
def test_every_fusion_model_s_options_are_written_out_as_they_are_by_default(name):
    """So that `-S` changes any of them without adding a key, and a sweep finds it."""
    written = yaml.safe_load((ROOT / "params.yaml").read_text())["train_fusion"]["options"]
    defaults = registry.check_options("fusion", name, {}).model_dump()
    assert written.get(name) == defaults, f"write train_fusion.options.{name} in params.yaml"


def test_an_option_of_a_model_that_is_not_chosen_is_changed_by_its_name(tmp_path):
    path = changed(tmp_path, lambda content: None)
    apply_overrides(path, ["train_fusion.options.mult.layers=2"])
    assert load_params(path).train_fusion.options["mult"]["layers"] == 2


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
        content["encode_text"]["encoders"]["minilm"]["view"] = "context"

    def mend(content):
        change(content)
        content["enrich_text"]["context_lines"] = 2

    with pytest.raises(ParamsError, match=r"minilm has view 'context', but .*context_lines is 0"):
        load_params(changed(tmp_path, change))
    assert load_params(changed(tmp_path, mend)).enrich_text.context_lines == 2


def test_text_that_is_no_yaml_and_an_absent_file_are_named(tmp_path):
    (tmp_path / "params.yaml").write_text("a: [1,")
    with pytest.raises(ParamsError, match=r"params\.yaml is not YAML"):
        load_params(tmp_path / "params.yaml")
    with pytest.raises(MissingFileError, match="run from the project's root"):
        load_params(tmp_path / "none.yaml")
