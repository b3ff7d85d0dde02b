"""The report says what the reports of the stages say, in one page that loads and runs nothing."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_run import make_clips, make_run, render

from ecmf.data.manifest import Clip, read_manifest
from ecmf.errors import CorpusError
from ecmf.reporting import clip_rows
from ecmf.reporting.clip_choice import choose_clips
from ecmf.reporting.clip_links import clip_links
from ecmf.reporting.clip_pictures import LEVELS, POINTS, pitch
from ecmf.reporting.results import read_results

MOST_BYTES = 5_000_000
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>'\"&amp;\u2028"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"), make_clips(60))


@pytest.fixture(scope="module")
def page(run):
    return render(run)


def clip_data(page):
    """Parse the data of the browser as the page's script does."""
    (text,) = re.findall(r'<script id="clip-data" type="application/json">(.*?)</script>', page)
    return json.loads(text)


def text_of(page, name):
    (text,) = re.findall(rf'id="{name}">([^<]*)<', page)
    return text


def test_the_first_screen_says_what_the_evaluation_says(run, page):
    test = json.loads((run / "evaluation.json").read_text())["test"]
    assert text_of(page, "score") == f"{test['waf']:.3f}"
    assert text_of(page, "interval") == f"{test['waf_low']:.3f} to {test['waf_high']:.3f}"
    conclusion = text_of(page, "conclusion")
    assert conclusion.startswith("It is certain at the 95 % level")
    for number in (test["waf"], test["waf_low"], test["waf_high"]):
        assert f"{number:.3f}" in conclusion
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page))
    assert facts["clips"] == "60" and facts["speakers"] == "10"
    assert facts["tested on"] == f"{test['clips']} clips (test split)"
    assert "only" not in conclusion and "rough guide" in page  # three groups are few


def test_every_baseline_is_drawn_and_named_in_what_is_certain(tmp_path):
    kinds = ("majority", "source", "product")
    make_run(tmp_path, make_clips(60), members={"ecmf": 0.7, "late": 0.6123}, kinds=kinds)
    page = render(tmp_path)
    names = (
        "the most frequent class, the best single source (face/mine) and late fusion of linear "
        "classifiers"
    )
    assert f"It is certain at the 95 % level that the model beats {names}." in page
    details = json.loads((tmp_path / "details.json").read_text())
    for kind in kinds:
        assert f"{details['baselines'][kind]['waf_low']:.3f}" in page
    assert "late alone" in page and "0.612" in page


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-0.3, -0.1, "the most frequent class and is below late fusion of linear classifiers."),
        (-0.3, 0.1, "It is not certain at the 95 % level whether it beats late fusion of linear"),
    ],
)  # fmt: skip
def test_a_baseline_that_is_not_beaten_is_said_to_be_so(low, high, said, tmp_path):
    make_run(tmp_path, make_clips(60), kinds=("majority", "product"))
    path = tmp_path / "details.json"
    details = json.loads(path.read_text())
    details["baselines"]["product"] |= {"lead": -0.1, "lead_low": low, "lead_high": high}
    path.write_text(json.dumps(details))
    assert said in text_of(render(tmp_path), "conclusion")


def test_the_confusion_matrix_counts_the_test_clips(run, page):
    (table,) = re.findall(r"Confusion of the test clips.*?<tbody>(.*?)</tbody>", page, re.DOTALL)
    cells = [int(text) for text in re.findall(r'<td class="h\d+">(\d+)</td>', table)]
    test = json.loads((run / "evaluation.json").read_text())["test"]
    assert sum(cells) == test["clips"]
    assert sum(cells[::4]) / sum(cells) == pytest.approx(test["accuracy"])


def test_equal_inputs_give_equal_bytes(run, page):
    assert render(run, "again.html") == page


def test_each_clip_has_its_label_prediction_doubt_and_what_is_missing(page):
    data = clip_data(page)
    rows = {row["id"]: row for row in data["clips"]}
    assert len(rows) == 60
    tested = rows["clip_0000"]  # the first prediction is wrong, and the clip has no face
    assert (tested["label"], tested["predicted"], tested["missing"]) == ("angry", "happy", ["face"])
    assert tested["tested"] and "doubt" not in tested
    trained = rows["clip_0003"]  # the first training clip is relabelled
    assert (trained["learned"], trained["decision"]) == ("happy", "relabelled")
    assert trained["votes"] == [[0, [100, 0, 0]], [1, [30, 70, 0]]] and trained["doubt"] > 0.6
    assert trained["cues"] == "loud voice" and sum(trained["probs"]) == pytest.approx(1000, abs=3)
    assert set(trained["wave"]) <= set(LEVELS) and "v" in trained["wave"]


def test_a_page_links_no_clip_unless_that_is_wanted(page, tmp_path):
    assert "media-src 'none'" in page and '"video":' not in page
    piece = Clip("a", video="media/long talk.mp4", audio="/else/a.wav", start="2", end="3.5")
    links = clip_links(piece, Path("metrics"))
    assert links["video"] == "../media/long%20talk.mp4#t=2,3.5"
    assert links["audio"].startswith("../") and links["audio"].endswith("/else/a.wav#t=2,3.5")


def test_the_pitch_of_a_voice_that_rises_an_octave_rises_over_the_whole_scale():
    hertz = np.repeat([150.0, 300.0], 8_000)
    tone = 9_000 * np.sin(2 * np.pi * np.cumsum(hertz) / 16_000)
    digits, bounds = pitch(np.concatenate([tone, np.zeros(8_000)]).astype("int16"))
    assert len(digits) == POINTS
    assert set(digits[2:30]) == {"0"} and set(digits[34:60]) == {"v"} and set(digits[66:]) == {"-"}
    assert bounds == [pytest.approx(150, abs=3), pytest.approx(300, abs=6)]
    assert pitch(np.zeros(16_000, "int16")) == pitch(np.zeros(0, "int16")) == ("", [])


def test_ids_labels_and_transcripts_with_markup_stay_text(tmp_path):
    clips = [
        replace(clip, clip_id=clip.clip_id + "<b onclick=x>", transcript=HOSTILE,
                speaker=HOSTILE + clip.speaker, label=f"<i>{clip.label}")
        for clip in make_clips(30)
    ]  # fmt: skip
    page = render(make_run(tmp_path, clips))
    assert page.count("<script") == page.count("</script>") == 2
    assert not re.search(r"<(img|b|i)\b", page)
    rows = clip_data(page)["clips"]
    assert {row["text"] for row in rows} == {HOSTILE}
    assert {row["id"] for row in rows} == {clip.clip_id for clip in clips}
    assert "&lt;i&gt;angry" in page


def test_the_page_names_no_address_and_forbids_every_request(page):
    without_namespace = page.replace('"http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?://|//[a-z]+\.|url\(|@import", without_namespace)
    assert not re.search(r"<(link|iframe|object|embed|base|form)\b| src=| style=", page)
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in policy


def test_pictures_stop_at_their_budget_and_keep_the_mixture(run, monkeypatch):
    monkeypatch.setattr(clip_rows, "PICTURE_BYTES", 200_000)
    rows = clip_data(render(run, "small.html"))["clips"]
    pictured = [row for row in rows if "strip" in row]
    assert 6 < len(pictured) < len(rows) == 60
    assert sum(len(row["strip"]) for row in pictured) <= 200_000
    assert any("doubt" in row for row in pictured)
    assert any(row.get("tested") and row["label"] != row["predicted"] for row in pictured)
    assert any(row.get("tested") and row["label"] == row["predicted"] for row in pictured)


def test_clips_have_pictures_as_far_as_there_is_room_though_no_label_is_in_doubt(run):
    clips = read_manifest(run / "manifest.csv")
    results = read_results(run / "predictions.csv", clips, ["angry", "happy", "sad"])
    chosen, others = choose_clips(results, {})
    assert sorted(chosen) == list(range(60)) and others == []
    assert {clips[i].split for i in chosen[:18]} == {"test"}
    assert {0, 21, 42} <= set(chosen[:6])  # those predicted wrong


def test_rows_stop_at_their_budget_and_the_page_says_how_many_are_left_out(run, monkeypatch):
    monkeypatch.setattr(clip_rows, "ROW_BYTES", 10_000)
    page = render(run, "short.html")
    rows = [{**row, "strip": "", "wave": ""} for row in clip_data(page)["clips"]]
    assert 20 < len(rows) < 60
    assert len(json.dumps(rows, separators=(",", ":"))) < 11_500
    assert f"{60 - len(rows)} of 60 clips have no row" in page


@pytest.mark.slow
def test_the_page_of_5000_clips_is_below_5_mb_and_counts_what_it_leaves_out(tmp_path):
    clips = [replace(clip, transcript="<oh> " * 100) for clip in make_clips(5000, speakers=500)]
    page = render(make_run(tmp_path, clips))
    rows = clip_data(page)["clips"]
    assert len(page.encode()) < MOST_BYTES
    assert 300 < len(rows) < 5000
    assert 100 < sum("strip" in row for row in rows) <= 300
    assert f"{5000 - len(rows)} of 5000 clips have no row" in page


def test_predictions_of_other_clips_are_refused_with_a_remedy(run, tmp_path):
    folder = make_run(tmp_path, make_clips(30))
    (folder / "predictions.csv").write_bytes((run / "predictions.csv").read_bytes())
    with pytest.raises(CorpusError, match="30 clips of the manifest: run `dvc repro evaluate"):
        render(folder)
