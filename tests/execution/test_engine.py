import functools
import json
from dataclasses import dataclass

import numpy as np
import pytest

from ecmf import registry
from ecmf.encoding import store_encoder
from ecmf.encoding.network import Network, Piece
from ecmf.encoding.store_encoder import PICTURES, Named, encode_pictures
from ecmf.errors import ClipError, CorpusError, ErrorBudgetError, UserError
from ecmf.execution import engine, local, result_cache
from ecmf.execution.local import Packing
from ecmf.execution.recipe import Given, InProcesses
from ecmf.execution.shard import Shard
from ecmf.params import Choice, ImageChoice
from ecmf.storage.files import sha256
from ecmf.storage.jpeg import encode_jpeg
from ecmf.storage.store import Layout, Rows, Store, no_rows
from ecmf.storage.store_writer import StoreWriter

JPEG = Layout(jpeg=True)


@pytest.fixture
def frames(tmp_path):
    return filmed(tmp_path / "frames.h5", range(9))


def filmed(path, numbers):
    with StoreWriter(path, JPEG, {}) as out:
        for number in numbers:
            if number == 4:
                out.append("blind", no_rows(JPEG, "empty", "no video stream"))
                continue
            rng = np.random.default_rng(number)
            images = [rng.integers(0, 255, (24, 32, 3), "uint8") for _ in range(3)]
            pictures = [encode_jpeg(image, 95) for image in images]
            out.append(f"clip_{number}", Rows(pictures, np.arange(3.0)))
    return path


class Picky(Network):
    """A network that refuses some clips, and counts the pictures it sees."""

    dim = 2
    provenance: dict[str, str] = {"weights": "none"}  # noqa: RUF012
    refused = frozenset({"clip_3"})

    def __init__(self):
        self.seen = []

    def pieces(self, clip):
        if clip.clip_id in self.refused:
            raise ClipError(f"too dark in {clip.clip_id}")
        self.seen.append(clip.clip_id)
        return [Piece({"mean": image.mean(axis=(0, 1))[:2]}) for image in clip.images]

    def forward(self, batch):
        return np.asarray(batch["mean"], "float32")

    def join(self, clip, results):
        return self.features(np.array(results), clip.times)


@pytest.fixture
def picky(monkeypatch):
    network = Picky()
    monkeypatch.setattr(store_encoder, "_encoder", lambda *_: network)
    monkeypatch.setattr(store_encoder.code_fingerprint, "of", lambda *modules: "code")
    return network


PICKY = Choice(member="picky")


def test_every_clip_comes_through_in_order_and_an_empty_one_says_why(frames, tmp_path):
    choice = ImageChoice(member="colour_histogram")
    encode_pictures("frame/colour", choice, frames, tmp_path / "out.h5", budget=0)
    with Store(frames) as given, Store(tmp_path / "out.h5") as features:
        assert list(features) == list(given)
        assert features.state("blind") == ("empty", "no video stream")
        assert len(features["clip_0"]) == 3
        assert features.provenance["source"] == "frame/colour"
        assert features.provenance["member"] == "colour_histogram"


@pytest.mark.parametrize("workers", ["1", "3"])
def test_the_number_of_workers_changes_no_byte(workers, frames, tmp_path, monkeypatch):
    choice = ImageChoice(member="gradient_histogram")
    monkeypatch.setenv("ECMF_WORKERS", "2")
    encode_pictures("frame/a", choice, frames, tmp_path / "two.h5", budget=0)
    monkeypatch.setenv("ECMF_WORKERS", workers)
    monkeypatch.setenv("ECMF_CACHE", str(tmp_path / "another"))
    encode_pictures("frame/a", choice, frames, tmp_path / "other.h5", budget=0)
    assert (tmp_path / "two.h5").read_bytes() == (tmp_path / "other.h5").read_bytes()


def test_a_refused_clip_is_recorded_and_its_batch_mates_are_not_lost(frames, tmp_path, picky):
    encode_pictures("frame/picky", PICKY, frames, tmp_path / "out.h5", budget=0.2)
    with Store(tmp_path / "out.h5") as features:
        assert features.state("clip_3") == ("failed", "too dark in clip_3")
        assert sum(len(features[clip_id]) for clip_id in features) == 7 * 3


def test_too_many_refused_clips_stop_the_stage_which_lists_them(frames, tmp_path, picky):
    with pytest.raises(ErrorBudgetError, match=r"1 of 9 clips failed(.*\n.*)*clip_3: too dark"):
        encode_pictures("frame/picky", PICKY, frames, tmp_path / "out.h5", budget=0.1)
    assert not (tmp_path / "out.h5").exists()


def test_imported_features_of_other_clips_are_refused(frames, tmp_path):
    table = tmp_path / "mine.csv"
    table.write_text("clip_id,a\nsomebody_else,1\n")
    choice = ImageChoice(member="imported", path=str(table), sha256=sha256(table))
    with pytest.raises(CorpusError, match="none of the 9 clips is among the imported features"):
        encode_pictures("face/mine", choice, frames, tmp_path / "out.h5", budget=0)


def test_a_clip_more_costs_one_clip_and_a_clip_less_costs_none(tmp_path, picky):
    first = filmed(tmp_path / "first.h5", range(10, 18))
    more = filmed(tmp_path / "more.h5", range(10, 19))
    encode_pictures("frame/picky", PICKY, first, tmp_path / "out.h5", budget=0)
    before = (tmp_path / "out.h5").read_bytes()
    assert len(picky.seen) == 8
    encode_pictures("frame/picky", PICKY, more, tmp_path / "out.h5", budget=0)
    assert picky.seen[8:] == ["clip_18"]
    encode_pictures("frame/picky", PICKY, first, tmp_path / "out.h5", budget=0)
    assert len(picky.seen) == 9
    assert (tmp_path / "out.h5").read_bytes() == before


def test_without_the_cache_the_same_bytes_come_out(frames, tmp_path, picky, monkeypatch):
    encode_pictures("frame/picky", PICKY, frames, tmp_path / "out.h5", budget=1)
    encode_pictures("frame/picky", PICKY, frames, tmp_path / "cached.h5", budget=1)
    monkeypatch.setenv("ECMF_CACHE", str(tmp_path / "empty"))
    encode_pictures("frame/picky", PICKY, frames, tmp_path / "anew.h5", budget=1)
    assert (
        (tmp_path / "out.h5").read_bytes()
        == (tmp_path / "cached.h5").read_bytes()
        == (tmp_path / "anew.h5").read_bytes()
    )


def test_a_refused_clip_is_tried_again_in_every_run(frames, tmp_path, picky):
    encode_pictures("frame/picky", PICKY, frames, tmp_path / "out.h5", budget=1)
    picky.refused = frozenset()
    encode_pictures("frame/picky", PICKY, frames, tmp_path / "out.h5", budget=0)
    assert picky.seen[-1] == "clip_3"
    with Store(tmp_path / "out.h5") as features:
        assert features.state("clip_3") == ("whole", "")


def test_what_was_done_before_an_error_is_not_done_again(frames, tmp_path, picky):
    picky.refused = frozenset()
    original, picky.forward = picky.forward, None

    def broken(batch):
        if len(picky.seen) >= 8 and picky.forward is broken:
            picky.forward = original
            raise RuntimeError("a bug")
        return original(batch)

    picky.forward = broken
    with pytest.raises(RuntimeError, match="a bug"):
        encode_pictures("frame/picky", PICKY, frames, tmp_path / "out.h5", budget=0)
    assert not (tmp_path / "out.h5").exists()
    encode_pictures("frame/picky", PICKY, frames, tmp_path / "out.h5", budget=0)
    with Store(tmp_path / "out.h5") as features:
        assert sum(len(features[clip_id]) for clip_id in features) == 8 * 3


def test_shares_fill_the_cache_and_the_last_call_only_puts_together(frames, tmp_path, picky):
    picky.refused = frozenset()
    for number in (1, 2, 3):
        out = tmp_path / "out.h5"
        encode_pictures("frame/picky", PICKY, frames, out, budget=0, shard=Shard(number, 3))
        assert not out.exists()
    assert sorted(picky.seen) == [f"clip_{number}" for number in range(9) if number != 4]
    encode_pictures("frame/picky", PICKY, frames, tmp_path / "out.h5", budget=0)
    assert len(picky.seen) == 8
    assert (tmp_path / "out.h5").exists()


def test_a_share_says_which_of_its_clips_failed(frames, tmp_path, picky, caplog):
    out = tmp_path / "out.h5"
    encode_pictures("frame/picky", PICKY, frames, out, budget=0, shard=Shard(1, 1))
    assert "frame/picky: clip_3 failed: too dark in clip_3" in caplog.text


def test_the_same_weights_in_another_place_are_the_same(picky):
    def folder(**options):
        choice = Choice(member="picky", **options)
        return store_encoder.recipe_of("x", Named(PICTURES, choice)).shelf().folder

    assert folder(revision="main") == folder(revision="0123abc") == folder(folder="/elsewhere")
    assert folder(sha256="1") != folder(sha256="2")


def test_clips_of_the_same_content_are_encoded_once(tmp_path, picky):
    images = [encode_jpeg(np.full((24, 32, 3), 9, "uint8"), 95)]
    with StoreWriter(tmp_path / "twins.h5", JPEG, {}) as out:
        out.append("one", Rows(images, np.zeros(1)))
        out.append("two", Rows(images, np.zeros(1)))
    encode_pictures("frame/picky", PICKY, tmp_path / "twins.h5", tmp_path / "out.h5", budget=0)
    assert len(picky.seen) == 1
    with Store(tmp_path / "out.h5") as features:
        assert np.array_equal(features["one"].values, features["two"].values)


def test_other_weights_options_or_code_share_nothing(picky, monkeypatch):
    def shelf(**options):
        return store_encoder.recipe_of(
            "x", Named(PICTURES, Choice(member="picky", **options))
        ).shelf()

    first = shelf().folder
    assert shelf().folder == first
    assert shelf(edge=3).folder != first
    picky.provenance = {"weights": "others"}
    assert shelf().folder != first
    picky.provenance = Picky.provenance
    assert shelf().folder == first
    monkeypatch.setattr(store_encoder.code_fingerprint, "of", lambda *modules: "other code")
    assert shelf().folder != first


def double(number):
    return (Rows(np.full((1, 1), 2.0 * number, "float32"), np.zeros(1)),)


def test_a_clip_that_is_lost_after_it_was_worked_out_is_made_again():
    layout = Layout((1,))
    recipe = InProcesses("double", (layout,), {"code": "1"}, double)
    results = engine.apply(recipe, [Given(str(i), str(i), lambda i=i: i) for i in range(5)])
    for pack in result_cache.packs_of(recipe.shelf().folder):
        pack.unlink()
    assert [float(result[0].values[0, 0]) for _, result in results] == [0, 2, 4, 6, 8]
    assert "3" in recipe.shelf()


def test_what_a_recipe_counts_stands_in_the_bar_beside_hits_and_misses(monkeypatch):
    shown = []

    class Bar(engine.tqdm):
        def set_postfix(self, values, **more):
            shown.append(dict(values))

    @dataclass(frozen=True)
    class Counting(InProcesses):
        def shown(self):
            return {"counted": f"{len(shown)}"}

    monkeypatch.setattr(engine, "tqdm", Bar)
    recipe = Counting("doubled", (Layout((1,)),), {}, double)
    given = [Given(str(number), str(number), functools.partial(int, 1)) for number in range(3)]
    engine.apply(recipe, given[:1])
    engine.apply(recipe, given)
    assert shown == [
        {"hits": 0, "misses": 1, "counted": "0"},
        {"hits": 1, "misses": 2, "counted": "1"},
        {"hits": 1, "misses": 2, "counted": "2"},
    ]


def test_packs_are_written_when_they_are_full_or_large(monkeypatch):
    recipe = InProcesses("double", (Layout((1,)),), {"code": "2"}, double)
    shelf = recipe.shelf()
    with Packing(shelf) as packing:
        for number in range(local.CLIPS_PER_PACK):
            assert not result_cache.packs_of(shelf.folder)
            packing.add(str(number), double(number))
        assert len(result_cache.packs_of(shelf.folder)) == 1
        monkeypatch.setattr(local, "BYTES_PER_PACK", 3)
        packing.add("large", double(1))
        assert len(result_cache.packs_of(shelf.folder)) == 2


def test_an_engine_that_is_none_is_refused(frames, tmp_path, picky, monkeypatch):
    monkeypatch.setenv("ECMF_ENGINE", "spark")
    with pytest.raises(UserError, match="ECMF_ENGINE is 'spark': set it to local or ray"):
        encode_pictures("frame/picky", PICKY, frames, tmp_path / "out.h5", budget=0)


def test_the_cache_says_in_words_what_it_holds(frames, tmp_path, picky):
    encode_pictures("frame/picky", PICKY, frames, tmp_path / "out.h5", budget=1)
    (recipe,) = result_cache.recipes()
    about = json.loads((recipe / "about.json").read_text())
    assert about["name"] == "frame/picky"
    assert about["identity"]["provenance"] == {"weights": "none"}


def test_every_family_of_encoders_is_found_by_its_folder():
    assert {"motion", "imported"} <= set(registry.names("encoders.image"))
