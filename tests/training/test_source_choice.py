"""Sources without weight on clips that were not trained on are left out of the final models."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from corpus import make_corpus
from made_clips import untrained
from safetensors.torch import load_file
from trainings import PARAMS, PREPARATION, train

from ecmf.data.features import Source, load_sources
from ecmf.errors import ParamsError
from ecmf.params import Sources
from ecmf.storage.store import Layout, Rows
from ecmf.storage.store_writer import StoreWriter
from ecmf.training import source_choice
from ecmf.training.dataset import Dataset
from ecmf.training.decision_weights import Decisions, fit_decision_weights
from ecmf.training.model import load_model
from ecmf.training.source_choice import MAX_NO_SAY
from ecmf.training.targets import class_targets
from train_fusion import train_fusion

NOISY = Sources({"frame": (), "face": ("mine",), "audio": ("mine", "noise"), "text": ()})
REFIT = PARAMS.model_copy(update={"refit": True, "seeds": (0,), "epochs": 12})
pytestmark = pytest.mark.usefixtures("one_worker")


def decisions(rng, clips=400, groups=20, qualities=(3.0, 1.5, 0.0)):
    """Decisions of three sources: normal logits, of these means for the true class."""
    truth = rng.integers(0, 3, clips)
    one_hot = np.eye(3)[truth]
    signal = one_hot[:, None, :] * np.array(qualities)[None, :, None]
    logits = signal + rng.normal(0, 1.2, (clips, 3, 3))
    log_probs = logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))
    return Decisions(log_probs, one_hot, np.ones(clips), np.arange(clips) % groups)


def test_a_better_source_has_more_weight_and_noise_has_no_say():
    found = fit_decision_weights(decisions(np.random.default_rng(0)))
    good, fair, noise = found.weights
    # For normal logits of equal deviation, the best weights are as their means: 3, 1.5 and 0.
    assert good / fair == pytest.approx(2, abs=0.4) and noise < 0.15
    assert found.weights.mean() == pytest.approx(1)
    assert found.no_say[0] == found.no_say[1] == 0 and found.no_say[2] > MAX_NO_SAY
    assert (found.low <= found.weights + 1e-9).all() and (found.weights <= found.high + 1e-9).all()


def test_weights_minimise_the_cross_entropy_of_the_weighted_product():
    given = decisions(np.random.default_rng(1), clips=3000)

    def loss(weights):
        fused = torch.from_numpy(np.einsum("nsc,s->nc", given.log_probs, weights))
        return torch.nn.functional.cross_entropy(fused, torch.from_numpy(given.truth)).item()

    weights = fit_decision_weights(given).weights
    scales = np.geomspace(0.1, 3, 60)
    best = min(loss(weights * scale) for scale in scales)
    for source in range(3):
        for step in (-0.2, 0.2):
            other = np.maximum(weights + step * np.eye(3)[source], 0)
            assert best <= min(loss(other * scale) for scale in scales) + 1e-4


@pytest.mark.parametrize("seed", range(3))
def test_equally_good_sources_are_all_kept_however_few_the_clips(seed):
    given = decisions(np.random.default_rng(seed), 24, 6, (1.5, 1.5, 1.5))
    assert (fit_decision_weights(given).no_say < MAX_NO_SAY).all()


def test_one_group_gives_equal_weights():
    given = decisions(np.random.default_rng(3), clips=30, groups=1)
    assert np.ptp(fit_decision_weights(given).weights) < 0.1


def test_one_source_is_kept_even_if_none_has_a_sure_weight(noisy, trained, monkeypatch):
    monkeypatch.setattr(source_choice, "MAX_NO_SAY", 0.0)  # no share of resamples is below
    _, _, runs = trained()
    values = runs["seed0-round0-refit"]["sources"]
    kept = [name for name, value in values.items() if value["weight"] == 1]
    assert kept == [max(values, key=lambda name: values[name]["fitted"])]


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("noisy")
    corpus = make_corpus(folder)
    rng = np.random.default_rng(2)
    with StoreWriter(folder / "features/audio/noise.h5", Layout((16,)), {"encoder": "n"}) as out:
        for clip in corpus.clips:
            values = rng.normal(size=(2, 16)).astype("float32")
            out.append(clip.clip_id, Rows(values, np.arange(2.0)))
    return corpus


@pytest.fixture
def trained(noisy, tmp_path):
    def run(**changes):
        train(noisy, tmp_path, REFIT.model_copy(update={"epochs": 1}))  # writes the labels
        params = REFIT.model_copy(update=changes)
        train_fusion(
            noisy.manifest, tmp_path / "labels.csv", noisy.text, noisy.features, tmp_path / "noisy",
            tmp_path / "training.json", tmp_path / "curves.csv", params, NOISY, PREPARATION,
        )  # fmt: skip
        card = yaml.safe_load((tmp_path / "noisy/card.yaml").read_text())
        return params, tmp_path / "noisy", {r["name"]: r for r in card["members"][0]["runs"]}

    return run


def probabilities(noisy, folder, params, run, change=lambda source: source):
    """Predict all clips with the weights of a run, after a change of the features."""
    paths = NOISY.paths(noisy.features)
    sources = [change(s) for s in load_sources(paths, [clip.clip_id for clip in noisy.clips])]
    task = class_targets(np.eye(3, dtype="float32"), np.ones(3, "float32")).task
    weights = load_file(folder / params.model / f"{run}.safetensors")
    model = load_model(weights, params, sources, task, torch.device("cpu"))
    dataset = Dataset(sources, torch.device("cpu"))
    with torch.inference_mode():
        return model(dataset.batch(torch.arange(len(noisy.clips)))).logits


def negated_noise(source):
    return replace(source, values=-source.values) if source.name == "audio/noise" else source


def test_a_source_of_noise_is_left_out_by_refit_and_named(noisy, trained, caplog):
    params, folder, runs = trained()
    values = runs["seed0-round0-refit"]["sources"]
    assert {name for name, value in values.items() if value["weight"] == 0} == {"audio/noise"}
    assert values["audio/noise"]["no_say"] >= MAX_NO_SAY
    assert "ecmf, test fold 0: audio/noise is left out" in caplog.text
    summary = json.loads((folder.parent / "training.json").read_text())
    assert summary["sources"]["round0"] == values
    for run, reads_noise in (("seed0-round0-refit", False), ("seed0-round0-fold0", True)):
        plain, changed = (
            probabilities(noisy, folder, params, run, change)
            for change in (lambda source: source, negated_noise)
        )
        assert torch.equal(plain, changed) != reads_noise


def test_a_training_that_stops_on_the_validation_split_chooses_by_it(trained):
    _, _, runs = trained(folds=1, refit=True)
    (run,) = runs.values()
    assert run["sources"]["audio/mine"]["no_say"] == 0
    for value in run["sources"].values():  # two speakers cannot speak against the noise
        assert value["weight"] == (value["no_say"] < MAX_NO_SAY)


def test_without_choose_sources_all_are_read(trained):
    _, _, runs = trained(choose_sources=False)
    assert all(not run["sources"] for run in runs.values())


def test_late_fusion_takes_fitted_weights_and_uses_them(noisy, trained):
    options = {"late": {"combine": "weighted", "width": 8}}
    _, _, runs = trained(model="late", options=options)
    values = runs["seed0-round0-refit"]["sources"]
    weights = {name: value["weight"] for name, value in values.items()}
    assert weights["audio/noise"] == 0 and len(set(weights.values())) == 3
    fitted = {name: value["fitted"] for name, value in values.items()}
    assert weights == fitted | {"audio/noise": 0}


def test_late_fusion_without_folds_names_what_to_set(trained):
    options = {"late": {"combine": "weighted"}}
    with pytest.raises(ParamsError, match=r"late weighs sources .* set train_fusion.refit"):
        trained(model="late", options=options, refit=False)


def test_weighted_late_fusion_is_a_product_of_powers():
    rng = np.random.default_rng(0)
    starts = np.arange(0, 11, 2)
    sources = [
        Source(name, rng.normal(size=(10, 4)).astype("float32"), starts, {})
        for name in ("audio/a", "face/b", "text/c")
    ]
    dataset = Dataset(sources, torch.device("cpu"))
    model = untrained("late", dataset.shapes, {"combine": "weighted"}).eval()
    batch = dataset.batch(torch.arange(5))
    alone = []
    for one_hot in np.eye(3).tolist():
        model.set_source_weights(one_hot)
        alone.append(model(batch).logits.softmax(dim=1))
    powers = [0.5, 0.0, 2.5]
    model.set_source_weights(powers)
    expected = torch.stack([probs**power for probs, power in zip(alone, powers, strict=True)])
    expected = expected.prod(dim=0)
    actual = model(batch).logits.softmax(dim=1)
    assert torch.allclose(actual, expected / expected.sum(dim=1, keepdim=True), atol=1e-6)
