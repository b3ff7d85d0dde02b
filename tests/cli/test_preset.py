import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from corpus import CLASSES, make_corpus
from dvc.utils.hydra import apply_overrides
from safetensors.torch import load_file
from trainings import evaluate, train

from ecmf import registry
from ecmf.cli import preset
from ecmf.errors import ParamsError
from ecmf.params import load_params

ROOT = Path(__file__).resolve().parents[2]
FAMILIES = {
    "encode_frames": "encoders.image",
    "encode_faces": "encoders.image",
    "encode_audio": "encoders.audio",
    "encode_text": "encoders.text",
}


@pytest.fixture
def params(tmp_path):
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    return tmp_path / "params.yaml"


def apply(name, params):
    """Change the file as `dvc exp run -S` does."""
    apply_overrides(params, preset.overrides(name, yaml.safe_load(params.read_text())))
    return load_params(params)


def test_the_documented_presets_exist():
    documented = {"sample", "ecmf", "mer2025", "english", "small", "meld"}
    assert documented <= set(preset.names())
    for name in documented:
        content = yaml.safe_load((preset.PRESETS / f"{name}.yaml").read_text())
        assert FAMILIES.keys() <= content.keys(), name


@pytest.mark.parametrize("name", preset.names())
def test_every_preset_encodes_raw_and_enriched_text_with_one_encoder(name, params):
    table = apply(name, params).encode_text.encoders
    assert {table[view].view for view in ("raw", "enriched")} == {"raw", "enriched"}
    assert table["raw"].encoder == table["enriched"].encoder
    assert table["raw"].options == table["enriched"].options


@pytest.mark.parametrize("name", preset.names())
def test_every_preset_is_valid_with_known_encoders_and_options(name, params):
    changed = apply(name, params)
    wanted = yaml.safe_load((preset.PRESETS / f"{name}.yaml").read_text())
    for stage, family in FAMILIES.items():
        table = getattr(changed, stage).encoders
        if stage in wanted:
            assert set(table) == set(wanted[stage]["encoders"])
        for choice in table.values():
            registry.check_options(family, choice.encoder, choice.options)


@pytest.mark.parametrize("name", ["mer2025", "ecmf"])
def test_a_preset_of_a_chinese_corpus_enriches_by_a_language_model(name, params):
    changed = apply(name, params)
    assert changed.corpus == "mer2025"
    assert changed.enrich_text.provider in ("openai", "transformers")
    assert changed.enrich_text.chosen_options["repository"]


@pytest.mark.parametrize("first", preset.names())
@pytest.mark.parametrize("second", preset.names())
def test_a_preset_replaces_the_one_before_it(first, second, params, tmp_path):
    direct = apply(second, params)
    shutil.copyfile(ROOT / "params.yaml", params)
    apply(first, params)
    after = apply(second, params)
    for stage in FAMILIES.keys() & yaml.safe_load((preset.PRESETS / f"{second}.yaml").read_text()):
        assert getattr(after, stage) == getattr(direct, stage)


def test_an_existing_entry_loses_the_options_that_the_preset_does_not_set(params):
    content = yaml.safe_load(params.read_text())
    content["encode_audio"]["encoders"] = {"librosa": {"encoder": "librosa", "trim_decibels": 20.0}}
    params.write_text(yaml.safe_dump(content))
    choice = apply("sample", params).encode_audio.encoders["librosa"]
    assert dict(choice.options) == {"window_seconds": 1.0}


@pytest.mark.parametrize("name", preset.names())
def test_audio_and_text_of_every_preset_are_sequences(name, params):
    changed = apply(name, params)
    own = yaml.safe_load((preset.PRESETS / f"{name}.yaml").read_text())
    for choice in changed.encode_audio.encoders.values():
        assert choice.options.get("window_seconds") or choice.options.get("rows") == "step"
    for choice in changed.encode_text.encoders.values():
        assert choice.options.get("rows") == "token"
        assert choice.max_rows or name == "sample" or "encode_text" not in own  # short sentences


def test_a_preset_keeps_all_other_keys(params):
    content = yaml.safe_load(params.read_text())
    content["train_fusion"]["epochs"] = 3
    params.write_text(yaml.safe_dump(content))
    assert apply("mer2025", params).train_fusion.epochs == 3


@pytest.mark.parametrize("name", preset.names())
def test_a_shell_passes_the_arguments_unchanged(name):
    printed = subprocess.run(
        ["bash", "-c", f'printf "%s\\n" $({sys.executable} -m ecmf preset {name})'],
        cwd=ROOT, check=True, capture_output=True, text=True, env={**os.environ},
    ).stdout.split("\n")[:-1]  # fmt: skip
    changes = preset.overrides(name, yaml.safe_load((ROOT / "params.yaml").read_text()))
    assert printed == [word for change in changes for word in ("-S", change)]


@pytest.fixture
def own_preset(tmp_path, monkeypatch):
    monkeypatch.setattr(preset, "PRESETS", tmp_path)

    def write(content):
        (tmp_path / "own.yaml").write_text(yaml.safe_dump(content))

    return write


def test_a_preset_adds_a_key_that_params_yaml_does_not_have_and_may_be_repeated(own_preset, params):
    own_preset({"train_fusion": {"epochs": 2, "options": {"mult": {"layers": 2, "width": 16}}}})
    for _ in range(2):
        changed = apply("own", params).train_fusion
        assert (changed.epochs, changed.options) == (2, {"mult": {"layers": 2, "width": 16}})


@pytest.mark.parametrize("name", preset.names())
def test_the_arguments_of_a_preset_that_is_there_change_nothing_more(name, params):
    apply(name, params)
    before = params.read_text()
    again = preset.overrides(name, yaml.safe_load(before))
    assert all(change.startswith("++") for change in again)
    apply(name, params)
    assert params.read_text() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"train_fusion": {"epoch": 3}}, r"train_fusion\.epoch: .*Did you mean 'epochs'"),
        ({"train_fusio": {"epochs": 3}}, r"train_fusio: .*Did you mean 'train_fusion'"),
        (
            {"train_fusion": {"options": {"mutl": {"layers": 2}}}},
            r"train_fusion\.options: .*no 'mutl' in fusion: .*Did you mean 'mult'",
        ),
        (
            {"encode_audio": {"encoders": {"mine": {"encoder": "libros"}}}},
            r"no 'libros' in encoders\.audio: .*Did you mean 'librosa'",
        ),
    ],
)
def test_a_preset_with_an_unknown_key_is_refused_with_a_suggestion(
    own_preset, params, content, message
):
    own_preset(content)
    with pytest.raises(ParamsError, match=f"with the preset 'own' is not valid: .*{message}"):
        preset.overrides("own", yaml.safe_load(params.read_text()))


def test_an_unknown_preset_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ParamsError, match=r"no preset 'mer2024'.*Did you mean 'mer2025'"):
        preset.overrides("mer2024", {})


def test_a_value_that_a_shell_or_dvc_would_split_is_refused():
    with pytest.raises(ParamsError, match="a preset cannot hold 'a b'"):
        preset._to_override({"x": "a b"})


def test_without_a_name_the_presets_are_listed():
    for name in preset.names():
        assert name in preset.listing()


def test_the_official_preset_trains_the_baseline_as_its_authors_do(params, tmp_path, monkeypatch):
    monkeypatch.setenv("ECMF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ECMF_WORKERS", "1")
    official = apply("official", params).train_fusion
    assert (official.model, official.optimizer, official.weight_decay) == ("baseline", "adam", 1e-5)
    assert (official.epochs, official.batch_size, official.schedule) == (100, 32, "constant")
    width = official.options["baseline"]["width"]
    corpus = make_corpus(tmp_path)
    folder = train(corpus, tmp_path, official.model_copy(update={"epochs": 20}))
    weights = sorted(folder.glob("baseline/*.safetensors"))
    assert len(weights) == official.folds
    for path in weights:
        assert load_file(path)["fusion.classifier.weight"].shape == (len(CLASSES), width)
    assert evaluate(corpus, tmp_path)["test"]["waf"] > 0.8
