import numpy as np
import pytest

from ecmf import engine, plugins
from ecmf.encoders.base import Features
from ecmf.encoding import as_pictures, encode_pictures, encode_transcripts
from ecmf.engine import Recipe, encode
from ecmf.enrichment import EnrichedText, write_texts
from ecmf.errors import ClipError, CorpusError, ErrorBudgetError
from ecmf.files import sha256
from ecmf.params import Choice, ImageChoice, TextChoice
from ecmf.pictures import encode_jpeg
from ecmf.store import Layout, Rows, Store, StoreWriter, no_rows

JPEG = Layout(jpeg=True)


@pytest.fixture
def frames(tmp_path):
    rng = np.random.default_rng(0)
    with StoreWriter(tmp_path / "frames.h5", JPEG, {}) as out:
        for number in range(9):
            if number == 4:
                out.append("blind", no_rows(JPEG, "empty", "no video stream"))
                continue
            images = [rng.integers(0, 255, (24, 32, 3), "uint8") for _ in range(3)]
            pictures = [encode_jpeg(image, 95) for image in images]
            out.append(f"clip_{number}", Rows(pictures, np.arange(3.0)))
    return tmp_path / "frames.h5"


def read(store):
    return ((clip_id, rows, rows.reason) for clip_id, rows in store.items())


class Picky:
    """A network that refuses some clips; it stands for any member that runs on a device."""

    uses_device = True
    needs_rows = True
    dim = 2
    provenance: dict[str, str] = {}  # noqa: RUF012
    refused = frozenset({"clip_3"})

    def __call__(self, clips):
        if bad := [clip.clip_id for clip in clips if clip.clip_id in self.refused]:
            raise ClipError(f"too dark in {bad[0]}")
        return [Features(np.ones((len(c.images), 2), "float32"), c.times) for c in clips]


@pytest.fixture
def picky(monkeypatch):
    monkeypatch.setattr(engine, "_encoder", lambda *_: Picky())
    return Recipe("encoders.image", Choice(member="picky"), as_pictures)


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
    encode_pictures("frame/a", choice, frames, tmp_path / "other.h5", budget=0)
    assert (tmp_path / "two.h5").read_bytes() == (tmp_path / "other.h5").read_bytes()


def test_a_refused_clip_is_recorded_and_its_batch_mates_are_not_lost(frames, tmp_path, picky):
    with Store(frames) as store:
        encode("frame/picky", picky, read(store), len(store), tmp_path / "out.h5", budget=0.2)
    with Store(tmp_path / "out.h5") as features:
        assert features.state("clip_3") == ("failed", "too dark in clip_3")
        assert sum(len(features[clip_id]) for clip_id in features) == 7 * 3


def test_too_many_refused_clips_stop_the_stage_which_lists_them(frames, tmp_path, picky):
    with (
        Store(frames) as store,
        pytest.raises(ErrorBudgetError, match=r"1 of 9 clips failed(.*\n.*)*clip_3: too dark"),
    ):
        encode("frame/picky", picky, read(store), len(store), tmp_path / "out.h5", budget=0.1)
    assert not (tmp_path / "out.h5").exists()


def test_imported_features_of_other_clips_are_refused(frames, tmp_path):
    table = tmp_path / "mine.csv"
    table.write_text("clip_id,a\nsomebody_else,1\n")
    choice = ImageChoice(member="imported", path=str(table), sha256=sha256(table))
    with pytest.raises(CorpusError, match="none of the 9 clips is among the imported features"):
        encode_pictures("face/mine", choice, frames, tmp_path / "out.h5", budget=0)


def test_the_chosen_view_of_the_text_is_encoded(tmp_path):
    told = {"provider": "lexicon", "prompt_version": "1"}
    write_texts(
        [EnrichedText(clip_id="a", raw="Oh no", enriched="Oh no (loud voice)", **told),
         EnrichedText(clip_id="mute", raw="", enriched="(loud voice)", **told)],
        tmp_path / "text.jsonl",
    )  # fmt: skip
    rows = {}
    for view in ("raw", "enriched"):
        choice = TextChoice(member="hashing", view=view)
        encode_transcripts("text/h", choice, tmp_path / "text.jsonl", tmp_path / "out.h5", budget=0)
        with Store(tmp_path / "out.h5") as features:
            rows[view] = features["a"].values
            assert len(features["mute"]) == (view == "enriched")
    assert not np.array_equal(rows["raw"], rows["enriched"])


def test_every_family_of_encoders_is_found_by_its_folder():
    assert {"motion", "imported"} <= set(plugins.names("encoders.image"))
