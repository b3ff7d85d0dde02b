"""`ecmf index` says at once which plugins do not read the language of the clips, and the remedy."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from ecmf import registry
from ecmf.cli.index import index_corpus
from ecmf.cli.next_commands import next_commands
from ecmf.cli.plugin_catalogue import plugin
from ecmf.data.manifest import Clip, read_manifest
from ecmf.encoding.text_transformer import RowOptions
from ecmf.enrichment.clip_texts import check_transcripts
from ecmf.errors import ParamsError
from ecmf.params import load_params

ROOT = Path(__file__).resolve().parents[2]
ENGLISH, CHINESE = "I told you so.", "我真的没有想到会这样。"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a repository with the parameters of the project."""
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    subprocess.run(["git", "init", "--quiet"], check=True)
    return tmp_path


def index(texts: Sequence[tuple[str, str]]) -> list[str]:
    """Index a folder of transcripts with their languages; return the printed lines."""
    folder = Path("data/raw/mine")
    folder.mkdir(parents=True)
    rows = [
        f"clip{i},{text},{language},s{i % 12},{'ab'[i % 24 // 12]}"
        for i, (text, language) in enumerate(texts)
    ]
    header = "clip_id,transcript,language,speaker,label"
    (folder / "clips.csv").write_text("\n".join([header, *rows]), encoding="utf-8")
    return index_corpus("folder", folder, "mine").splitlines()


def test_a_chinese_corpus_is_told_its_plugins_and_the_run_below_reads_it(project: Path) -> None:
    lines = index([(CHINESE, "zh")] * 30 + [(CHINESE, "")] * 10 + [(ENGLISH, "en")] * 6)
    provider, encoder = [line for line in lines if " reads en only" in line]
    counts = "40 of 46 texts are another language (30 zh, 10 no language"
    assert provider.startswith("enrich_text.provider: lexicon ") and counts in provider
    assert encoder.startswith(
        "encode_text.encoders.raw, encode_text.encoders.enriched: minilm "
    ) and counts in encoder  # fmt: skip

    clips = read_manifest(Path("data/manifests/mine.csv"))
    with pytest.raises(ParamsError, match="lexicon reads en only, and 40 of 46 texts"):
        check_transcripts(load_params().enrich_text.provider, clips)
    (run,) = [line for line in lines if line.startswith("  dvc exp run")]
    apply_overrides(project / "params.yaml", [word for word in shlex.split(run) if "=" in word])
    params = load_params()
    check_transcripts(params.enrich_text.provider, clips)
    registry.check_options("llms", params.enrich_text.provider, params.enrich_text.chosen_options)
    for entry in params.encode_text.encoders.values():
        assert not plugin("encoders.text", entry.encoder).languages
        registry.check_options("encoders.text", entry.encoder, entry.options)


def test_some_clips_of_another_language_leave_the_run_as_it_is() -> None:
    lines = index([(ENGLISH, "en")] * 40 + [(CHINESE, "zh")] * 6)
    provider, encoder = [line for line in lines if "6 of 46 texts are another" in line]
    assert provider.endswith("to read them: -S enrich_text.provider=transformers")
    assert encoder.count("{encoder: huggingface, repository: FacebookAI/xlm-roberta-base}") == 2
    assert "  dvc exp run -S corpus=mine" in lines


@pytest.mark.parametrize("texts", [[(ENGLISH, "en-US")], [(ENGLISH, "")], [("12:30!", "")]])
def test_a_corpus_that_can_be_read_is_no_warning(texts: list[tuple[str, str]]) -> None:
    assert "another language" not in "\n".join(index(texts * 48))


def test_only_plugins_that_are_chosen_are_warned_of(project: Path) -> None:
    changes = ["enrich_text.provider=openai", "~encode_text.encoders.enriched"]
    apply_overrides(project / "params.yaml", changes)
    (warning,) = [line for line in index([(CHINESE, "zh")] * 48) if "reads en only" in line]
    assert warning.startswith("encode_text.encoders.raw: minilm ")


def test_a_preset_of_the_corpus_that_reads_its_language_is_no_warning() -> None:
    clips = [
        Clip(f"{n}", transcript=CHINESE, language="zh", group=f"{n % 12}", label="ab"[n % 24 // 12])
        for n in range(48)
    ]
    for corpus, warnings in {"mer2025": 0, "folder": 2}.items():
        lines = next_commands(corpus, Path("data/manifests/mine.csv"), clips)
        assert sum("another language" in line for line in lines) == warnings


def test_the_encoder_of_many_languages_has_the_options_of_those_that_it_replaces() -> None:
    replacing = registry.options_model("encoders.text", "huggingface").model_fields.keys()
    for name in registry.names("encoders.text"):
        if plugin("encoders.text", name).languages:
            model = registry.options_model("encoders.text", name)
            assert issubclass(model, RowOptions)
            assert model.model_fields.keys() <= replacing
