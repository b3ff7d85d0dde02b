import functools
import json
from dataclasses import dataclass

import numpy as np
import pytest

from ecmf import registry
from ecmf.encoding import store_encoder
from ecmf.encoding.network import Chunk, Network
from ecmf.encoding.store_encoder import IMAGES, ConfiguredEncoder, encode_image_store
from ecmf.errors import ClipError, CorpusError, ErrorBudgetError, ParamsError, UserError
from ecmf.execution import engine, local, result_cache
from ecmf.execution.local import PackWriter
from ecmf.execution.process_pool import Failure
from ecmf.execution.recipe import ClipInput, PoolRecipe
from ecmf.execution.shard import Shard
from ecmf.params import Choice, ImageChoice
from ecmf.storage.files import sha256
from ecmf.storage.jpeg import encode_jpeg
from ecmf.storage.store import Layout, Rows, Store, no_rows
from ecmf.storage.store_writer import StoreWriter

JPEG = Layout(jpeg=True)


@pytest.fixture
def frames(tmp_path):
    return write_frames(tmp_path / "frames.h5", range(9))


def write_frames(path, numbers):
    with StoreWriter(path, JPEG, {}) as out:
        for number in numbers:
            if number == 4:
                out.append("blind", no_rows(JPEG, "empty", "no video stream"))
                continue
            rng = np.random.default_rng(number)
            images = [rng.integers(0, 255, (24, 32, 3), "uint8") for _ in range(3)]
            files = [encode_jpeg(image, 95) for image in images]
            out.append(f"clip_{number}", Rows(files, np.arange(3.0)))
    return path


class Picky(Network):
    """A network that refuses some clips, and records the others."""

    dim = 2
    provenance: dict[str, str] = {"weights": "none"}  # noqa: RUF012
    refused = frozenset({"clip_3"})

    def __init__(self):
        self.seen = []

    def split(self, clip):
        if clip.clip_id in self.refused:
            raise ClipError(f"too dark in {clip.clip_id}")
        self.seen.append(clip.clip_id)
        return [Chunk({"mean": image.mean(axis=(0, 1))[:2]}) for image in clip.images]

    def forward(self, batch):
        return np.asarray(batch["mean"], "float32")

    def merge(self, clip, results):
        return self.features(np.array(results), clip.times)


@pytest.fixture
def picky(monkeypatch):
    network = Picky()
    monkeypatch.setattr(store_encoder, "_encoder", lambda *_: network)
    monkeypatch.setattr(store_encoder.code_fingerprint, "hash_modules", lambda *modules: "code")
    return network


PICKY = Choice(encoder="picky")


def test_every_clip_is_encoded_in_order_and_an_empty_one_has_a_reason(frames, tmp_path):
    choice = ImageChoice(encoder="colour_histogram")
    encode_image_store("frame/colour", choice, frames, tmp_path / "out.h5", budget=0)
    with Store(frames) as store, Store(tmp_path / "out.h5") as features:
        assert list(features) == list(store)
        assert features.state("blind") == ("empty", "no video stream")
        assert len(features["clip_0"]) == 3
        assert features.provenance["source"] == "frame/colour"
        assert features.provenance["plugin"] == "colour_histogram"


@pytest.mark.parametrize("workers", ["1", "3"])
def test_the_number_of_workers_changes_no_byte(workers, frames, tmp_path, monkeypatch):
    choice = ImageChoice(encoder="gradient_histogram")
    monkeypatch.setenv("ECMF_WORKERS", "2")
    encode_image_store("frame/a", choice, frames, tmp_path / "two.h5", budget=0)
    monkeypatch.setenv("ECMF_WORKERS", workers)
    monkeypatch.setenv("ECMF_CACHE", str(tmp_path / "another"))
    encode_image_store("frame/a", choice, frames, tmp_path / "other.h5", budget=0)
    assert (tmp_path / "two.h5").read_bytes() == (tmp_path / "other.h5").read_bytes()


def test_a_refused_clip_is_recorded_and_the_rest_of_its_batch_is_encoded(frames, tmp_path, picky):
    encode_image_store("frame/picky", PICKY, frames, tmp_path / "out.h5", budget=0.2)
    with Store(tmp_path / "out.h5") as features:
        assert features.state("clip_3") == ("failed", "too dark in clip_3")
        assert sum(len(features[clip_id]) for clip_id in features) == 7 * 3


def test_too_many_refused_clips_stop_the_stage_and_are_listed(frames, tmp_path, picky):
    with pytest.raises(ErrorBudgetError, match=r"1 of 9 clips failed(.*\n.*)*clip_3: too dark"):
        encode_image_store("frame/picky", PICKY, frames, tmp_path / "out.h5", budget=0.1)
    assert not (tmp_path / "out.h5").exists()


def test_imported_features_of_other_clips_are_refused(frames, tmp_path):
    table = tmp_path / "mine.csv"
    table.write_text("clip_id,a\nsomebody_else,1\n")
    choice = ImageChoice(encoder="imported", path=str(table), sha256=sha256(table))
    with pytest.raises(CorpusError, match="the imported features have none of the 9 clips"):
        encode_image_store("face/mine", choice, frames, tmp_path / "out.h5", budget=0)


def test_an_added_clip_costs_one_clip_and_a_removed_one_costs_none(tmp_path, picky):
    first = write_frames(tmp_path / "first.h5", range(10, 18))
    more = write_frames(tmp_path / "more.h5", range(10, 19))
    encode_image_store("frame/picky", PICKY, first, tmp_path / "out.h5", budget=0)
    before = (tmp_path / "out.h5").read_bytes()
    assert len(picky.seen) == 8
    encode_image_store("frame/picky", PICKY, more, tmp_path / "out.h5", budget=0)
    assert picky.seen[8:] == ["clip_18"]
    encode_image_store("frame/picky", PICKY, first, tmp_path / "out.h5", budget=0)
    assert len(picky.seen) == 9
    assert (tmp_path / "out.h5").read_bytes() == before


def test_without_the_cache_the_output_is_the_same_to_the_byte(frames, tmp_path, picky, monkeypatch):
    encode_image_store("frame/picky", PICKY, frames, tmp_path / "out.h5", budget=1)
    encode_image_store("frame/picky", PICKY, frames, tmp_path / "cached.h5", budget=1)
    monkeypatch.setenv("ECMF_CACHE", str(tmp_path / "empty"))
    encode_image_store("frame/picky", PICKY, frames, tmp_path / "anew.h5", budget=1)
    assert (
        (tmp_path / "out.h5").read_bytes()
        == (tmp_path / "cached.h5").read_bytes()
        == (tmp_path / "anew.h5").read_bytes()
    )


def test_a_refused_clip_is_tried_again_in_every_run(frames, tmp_path, picky):
    encode_image_store("frame/picky", PICKY, frames, tmp_path / "out.h5", budget=1)
    picky.refused = frozenset()
    encode_image_store("frame/picky", PICKY, frames, tmp_path / "out.h5", budget=0)
    assert picky.seen[-1] == "clip_3"
    with Store(tmp_path / "out.h5") as features:
        assert features.state("clip_3") == ("whole", "")


def test_clips_encoded_before_an_error_are_not_encoded_again(frames, tmp_path, picky):
    picky.refused = frozenset()
    original, picky.forward = picky.forward, None

    def broken(batch):
        if len(picky.seen) >= 8 and picky.forward is broken:
            picky.forward = original
            raise RuntimeError("a bug")
        return original(batch)

    picky.forward = broken
    with pytest.raises(RuntimeError, match="a bug"):
        encode_image_store("frame/picky", PICKY, frames, tmp_path / "out.h5", budget=0)
    assert not (tmp_path / "out.h5").exists()
    encode_image_store("frame/picky", PICKY, frames, tmp_path / "out.h5", budget=0)
    with Store(tmp_path / "out.h5") as features:
        assert sum(len(features[clip_id]) for clip_id in features) == 8 * 3


def test_shards_fill_the_cache_and_a_last_run_writes_the_store(frames, tmp_path, picky):
    picky.refused = frozenset()
    for number in (1, 2, 3):
        out = tmp_path / "out.h5"
        encode_image_store("frame/picky", PICKY, frames, out, budget=0, shard=Shard(number, 3))
        assert not out.exists()
    assert sorted(picky.seen) == [f"clip_{number}" for number in range(9) if number != 4]
    encode_image_store("frame/picky", PICKY, frames, tmp_path / "out.h5", budget=0)
    assert len(picky.seen) == 8
    assert (tmp_path / "out.h5").exists()


def test_a_shard_logs_its_failed_clips(frames, tmp_path, picky, caplog):
    out = tmp_path / "out.h5"
    encode_image_store("frame/picky", PICKY, frames, out, budget=0, shard=Shard(1, 1))
    assert "frame/picky: clip_3 failed: too dark in clip_3" in caplog.text


def folder(**options):
    encoder = ConfiguredEncoder(IMAGES, Choice(encoder="picky", **options))
    return store_encoder.build_recipe("x", encoder).open_cache().folder


def test_the_same_weights_in_another_place_have_the_same_cache(picky):
    assert folder(revision="main") == folder(revision="0123abc") == folder(folder="/elsewhere")
    assert folder(sha256="1") != folder(sha256="2")


def test_clips_of_the_same_content_are_encoded_once(tmp_path, picky):
    images = [encode_jpeg(np.full((24, 32, 3), 9, "uint8"), 95)]
    with StoreWriter(tmp_path / "twins.h5", JPEG, {}) as out:
        out.append("one", Rows(images, np.zeros(1)))
        out.append("two", Rows(images, np.zeros(1)))
    encode_image_store("frame/picky", PICKY, tmp_path / "twins.h5", tmp_path / "out.h5", budget=0)
    assert len(picky.seen) == 1
    with Store(tmp_path / "out.h5") as features:
        assert np.array_equal(features["one"].values, features["two"].values)


def test_other_weights_options_or_code_have_a_cache_of_their_own(picky, monkeypatch):
    first = folder()
    assert folder() == first
    assert folder(edge=3) != first
    picky.provenance = {"weights": "others"}
    assert folder() != first
    picky.provenance = Picky.provenance
    assert folder() == first
    monkeypatch.setattr(store_encoder.code_fingerprint, "hash_modules", lambda *modules: "other")
    assert folder() != first


def double(number):
    return (Rows(np.full((1, 1), 2.0 * number, "float32"), np.zeros(1)),)


def test_a_result_lost_after_it_was_computed_is_computed_again():
    layout = Layout((1,))
    recipe = PoolRecipe("double", (layout,), {"code": "1"}, double)
    results = engine.run(recipe, [ClipInput(str(i), str(i), lambda i=i: i) for i in range(5)])
    for pack in result_cache.pack_paths(recipe.open_cache().folder):
        pack.unlink()
    assert [float(result[0].values[0, 0]) for _, result in results] == [0, 2, 4, 6, 8]
    assert "3" in recipe.open_cache()


def fragile(number):
    if number == 2:
        raise KeyError("an odd clip\nwith details")
    if number == 9:
        raise ParamsError("wrong for every clip")
    return double(number)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_any_exception_for_one_clip_is_its_failure_and_not_the_end(monkeypatch, workers):
    monkeypatch.setenv("ECMF_WORKERS", workers)
    recipe = PoolRecipe("fragile", (Layout((1,)),), {"code": "1"}, fragile)
    clips = [ClipInput(f"clip_{i}", str(i), functools.partial(int, i)) for i in range(4)]
    results = dict(engine.run(recipe, clips))
    assert results["clip_2"].reason.startswith("KeyError: 'an odd clip")
    assert results["clip_2"].reason.endswith(")")
    assert [name for name, result in results.items() if isinstance(result, Failure)] == ["clip_2"]
    with pytest.raises(ParamsError, match="wrong for every clip"):
        engine.run(recipe, [ClipInput("clip_9", "9", functools.partial(int, 9))])


def test_the_progress_bar_shows_the_status_of_a_recipe_beside_hits_and_misses(monkeypatch):
    postfixes = []

    class Bar(engine.tqdm):
        def set_postfix(self, values, **more):
            postfixes.append(dict(values))

    @dataclass(frozen=True)
    class Counting(PoolRecipe):
        def status(self):
            return {"counted": f"{len(postfixes)}"}

    monkeypatch.setattr(engine, "tqdm", Bar)
    recipe = Counting("doubled", (Layout((1,)),), {}, double)
    clips = [ClipInput(str(number), str(number), functools.partial(int, 1)) for number in range(3)]
    engine.run(recipe, clips[:1])
    engine.run(recipe, clips)
    assert postfixes == [
        {"hits": 0, "misses": 1, "counted": "0"},
        {"hits": 1, "misses": 2, "counted": "1"},
        {"hits": 1, "misses": 2, "counted": "2"},
    ]


def test_a_signal_that_arrives_between_two_results_loses_none_of_them(monkeypatch):
    def interrupted(self, *_, **__):
        raise KeyboardInterrupt

    recipe = PoolRecipe("double", (Layout((1,)),), {}, lambda rows: (rows,))
    rows = Rows(np.ones((1, 1), "float32"), np.zeros(1))
    clips = [ClipInput(name, name, lambda: rows) for name in "abc"]
    monkeypatch.setenv("ECMF_WORKERS", "1")
    monkeypatch.setattr(engine.tqdm, "update", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:  # holds the frames, as a handler does
        engine.run(recipe, clips)
    assert "a" in recipe.open_cache() and "b" not in recipe.open_cache()
    assert caught.tb


def test_packs_are_written_when_they_are_full_or_large(monkeypatch):
    recipe = PoolRecipe("double", (Layout((1,)),), {"code": "2"}, double)
    cache = recipe.open_cache()
    with PackWriter(cache) as writer:
        for number in range(local.CLIPS_PER_PACK):
            assert not result_cache.pack_paths(cache.folder)
            writer.add(str(number), double(number))
        assert len(result_cache.pack_paths(cache.folder)) == 1
        monkeypatch.setattr(local, "BYTES_PER_PACK", 3)
        writer.add("large", double(1))
        assert len(result_cache.pack_paths(cache.folder)) == 2


def test_an_unknown_engine_is_refused(frames, tmp_path, picky, monkeypatch):
    monkeypatch.setenv("ECMF_ENGINE", "spark")
    with pytest.raises(UserError, match="ECMF_ENGINE is 'spark': set it to local or ray"):
        encode_image_store("frame/picky", PICKY, frames, tmp_path / "out.h5", budget=0)


def test_the_cache_describes_its_recipes_in_json(frames, tmp_path, picky):
    encode_image_store("frame/picky", PICKY, frames, tmp_path / "out.h5", budget=1)
    (folder,) = result_cache.recipe_folders()
    recipe = json.loads((folder / "recipe.json").read_text())
    assert recipe["name"] == "frame/picky"
    assert recipe["identity"]["provenance"] == {"weights": "none"}


def test_every_family_of_encoders_is_found_by_its_folder():
    assert {"motion", "imported"} <= set(registry.names("encoders.image"))
