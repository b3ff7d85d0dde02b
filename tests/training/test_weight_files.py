"""Damaged weights are trained again from the cache, and refused in the folder of models."""

import shutil

import pytest
from corpus import make_corpus
from trainings import PARAMS, evaluate, model_of, train

from ecmf.errors import StoreError
from ecmf.training import run_trainer

pytestmark = pytest.mark.usefixtures("one_worker")

SMALL = PARAMS.model_copy(update={"folds": 2, "seeds": (0,), "epochs": 1})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECMF_CACHE", str(folder / "cache"))
        patch.setenv("ECMF_WORKERS", "1")
        corpus = make_corpus(folder, speakers=6, each=6)
        train(corpus, folder, SMALL)
    return corpus, folder


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


def cut_in_half(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize("suffix", ["safetensors", "sha256"])
@pytest.mark.parametrize("damage", [flip_a_bit, cut_in_half])
def test_a_damaged_training_in_the_cache_is_trained_again(
    trained, tmp_path, monkeypatch, caplog, suffix, damage
):
    corpus, folder = trained
    shutil.copytree(folder / "cache", tmp_path / "cache")
    damaged = sorted(tmp_path.glob(f"cache/train_fusion/*/*.{suffix}"))[0]
    damage(damaged)
    fit, fitted = run_trainer.fit, []
    monkeypatch.setattr(
        run_trainer, "fit", lambda *arguments: fitted.append(arguments) or fit(*arguments)
    )
    train(corpus, tmp_path, SMALL)
    assert len(fitted) == 1
    assert f"{damaged.stem}: the weights" in caplog.text and "trained again" in caplog.text
    assert model_of(tmp_path) == model_of(folder)


@pytest.mark.parametrize("damage", [flip_a_bit, cut_in_half, lambda path: path.unlink()])
def test_damaged_weights_of_a_model_are_refused_with_the_remedy(trained, tmp_path, damage):
    corpus, folder = trained
    shutil.copytree(folder / "fusion", tmp_path / "fusion")
    damage(sorted(tmp_path.glob("fusion/ecmf/*.safetensors"))[0])
    with pytest.raises(
        StoreError, match=r"the weights .*safetensors are absent or damaged: .*-f train_fusion"
    ):
        evaluate(corpus, tmp_path)
