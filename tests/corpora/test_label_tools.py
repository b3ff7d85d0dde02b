"""Annotations of labelling tools become clips, and refined labels go back to the tool."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from annotations import MEDIA, database, eaf, export, region, task, textgrid

from ecmf import registry
from ecmf.data.corpus_index import collect_clips
from ecmf.data.label_proposals import Proposal
from ecmf.data.manifest import Clip
from ecmf.errors import CorpusError, UserError

PROPOSAL = Proposal("sad", 0.25, "doubt 0.52, relabelled")


def clips(corpus: str, folder: Path) -> list[Clip]:
    return list(registry.load("corpora", corpus).Corpus().clips(folder))


def write_labels(corpus: str, folder: Path, out: Path) -> int:
    """Propose `sad` for every clip."""
    proposals = {clip.clip_id: PROPOSAL for clip in clips(corpus, folder)}
    return int(registry.load("corpora", corpus).Corpus().write_labels(folder, out, proposals))


def recordings(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(MEDIA)


# --- tiers ------------------------------------------------------------------------------------


def test_the_label_is_that_of_most_annotators_and_pieces_are_matched_by_their_times(
    tmp_path: Path,
) -> None:
    textgrid(
        tmp_path,
        ann=[(0, 2, "happy"), (2, 4, "sad")],
        bob=[(0, 2, "sad"), (2, 4, "sad")],
        cy=[(0, 2, "happy"), (5, 6, "sad")],
    )
    first, second, third = clips("praat", tmp_path)
    assert (first.label, first.start, first.end) == ("happy", "", "2.000")
    assert first.annotators == {
        "annotator_ann": "happy", "annotator_bob": "sad", "annotator_cy": "happy",
    }  # fmt: skip
    assert (second.label, second.start, second.end) == ("sad", "2.000", "4.000")
    assert third.annotators == {"annotator_cy": "sad"}
    assert [clip.clip_id for clip in (first, third)] == [
        "talk_0000000_0002000",
        "talk_0005000_0006000",
    ]


def test_an_only_annotator_is_the_label_and_does_not_vote_again(tmp_path: Path) -> None:
    textgrid(tmp_path, emotion=[(0, 2, "happy")])
    (clip,) = clips("praat", tmp_path)
    assert (clip.label, clip.annotators, clip.split) == ("happy", {}, "train")


def test_a_vote_for_what_is_no_class_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    textgrid(tmp_path, a=[(0, 2, "happy")], b=[(0, 2, "happy")], c=[(0, 2, "awe")])
    (clip,) = collect_clips("praat", tmp_path)
    assert clip.annotators == {"annotator_a": "happy", "annotator_b": "happy"}
    assert "'awe' (1)" in caplog.text


def test_two_spellings_of_a_label_are_refused(tmp_path: Path) -> None:
    textgrid(tmp_path, a=[(0, 2, "happy"), (2, 4, "sad")], b=[(0, 2, "happy"), (2, 4, "Sad")])
    with pytest.raises(CorpusError, match="label 'Sad' was 'sad' before: use one spelling"):
        clips("praat", tmp_path)


def test_tiers_with_the_name_of_a_column_fill_it_by_time(tmp_path: Path) -> None:
    textgrid(
        tmp_path,
        emotion=[(0, 2, "happy"), (2, 4, "sad")],
        transcript=[(0.1, 0.9, "Well,"), (1, 1.9, "yes."), (2, 3, "No.")],
        Speaker=[(0, 4, "ann")],
    )
    first, second = clips("praat", tmp_path)
    assert (first.transcript, second.transcript) == ("Well, yes.", "No.")
    assert first.speaker == first.group == "ann"


def test_a_recording_with_a_transcript_alone_gives_clips_without_label(tmp_path: Path) -> None:
    textgrid(tmp_path, transcript=[(0, 2, "Well."), (3, 4, "No.")])
    found = [(clip.transcript, clip.label, clip.split) for clip in clips("praat", tmp_path)]
    assert found == [("Well.", "", "unlabelled"), ("No.", "", "unlabelled")]


def test_a_table_of_tiers_tells_their_meaning_and_leaves_others_out(tmp_path: Path) -> None:
    textgrid(
        tmp_path,
        words=[(0, 1, "well")],
        A_feeling=[(0, 2, "happy")],
        B_feeling=[(1, 3, "sad")],
        says=[(0, 2, "Well.")],
    )
    table = tmp_path / "tiers.csv"
    table.write_text(
        "tier,column,speaker\nA_feeling,label,A\nB_feeling,label,B\nsays,transcript,A\n"
    )
    first, second = clips("praat", tmp_path)
    assert (first.label, first.speaker, first.transcript) == ("happy", "A", "Well.")
    assert (second.label, second.speaker, second.transcript) == ("sad", "B", "")
    table.write_text("tier,column\nA_feeling,lable\nA_feeling,\n")
    with pytest.raises(CorpusError, match=r"tiers\.csv: 2 errors(?s:.*)Did you mean 'label'"):
        clips("praat", tmp_path)


# --- times and files that cannot be used ------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end"), [(-1.0, 2.0), (2.0, 1.0), (float("nan"), 2.0), (0.0, float("inf"))]
)
def test_times_that_are_no_piece_of_a_file_are_refused(
    tmp_path: Path, start: float, end: float
) -> None:
    recordings(tmp_path, "a.wav")
    export(tmp_path, task({"audio": "a.wav"}, p1=[region("labels", "sad", start, end)]))
    with pytest.raises(CorpusError, match="are no piece of a file: 0 <= start < end is needed"):
        clips("label_studio", tmp_path)


def test_a_negative_time_of_praat_does_not_lose_its_sign(tmp_path: Path) -> None:
    path = textgrid(tmp_path, emotion=[(1, 2, "happy")])
    path.write_text(path.read_text().replace("xmin = 1 ", "xmin = -1 "))
    with pytest.raises(CorpusError, match="a negative time"):
        clips("praat", tmp_path)


@pytest.mark.parametrize(
    "named",
    ["/etc/secret.wav", "../secret.wav", "file:///../../secret.wav", "..\\secret.wav", "a\0.wav"],
)
def test_no_annotation_leads_out_of_the_folder(tmp_path: Path, named: str) -> None:
    recordings(tmp_path, "secret.wav", "mine/a.wav")
    export(tmp_path / "mine", task({"audio": named}, p1=[region("choices", "sad")]))
    (clip,) = clips("label_studio", tmp_path / "mine")
    assert clip.audio in ("secret.wav", "a\0.wav"), "a mere name, which is not there"
    with pytest.raises(CorpusError, match=r"(secret|a\\x00)\.wav"):
        collect_clips("label_studio", tmp_path / "mine")


@pytest.mark.parametrize(
    "named",
    [
        "/data/upload/3/0a1b2c3d-a.wav",
        "/data/local-files/?d=disk/sub/a%20b.wav",
        "file:///C:/films/sub/a%20b.wav",
        "D:\\films\\sub\\a b.wav",
        "https://example.org/sub/a%20b.wav?key=1",
        "./sub/../sub/a b.wav",
    ],
)
def test_a_recording_is_found_by_the_end_of_its_path(tmp_path: Path, named: str) -> None:
    recordings(tmp_path, "media/a.wav", "sub/a b.wav")
    export(tmp_path, task({"audio": named}, p1=[region("choices", "sad")]))
    (clip,) = clips("label_studio", tmp_path)
    assert clip.audio == ("media/a.wav" if "upload" in named else "sub/a b.wav")


# --- Label Studio -----------------------------------------------------------------------------


def test_an_export_of_label_studio_gives_regions_persons_and_data_of_tasks(tmp_path: Path) -> None:
    recordings(tmp_path, "a.wav")
    ann = [region("labels", "happy", 0, 1.5), region("textarea", "Well.", 0, 1.5)]
    given = task(
        {"audio": "a.wav", "speaker": "cy"}, p7=ann, p8=[region("labels", "happy", 0, 1.5)],
        p9=[region("labels", "sad", 2, 3)],
    )  # fmt: skip
    given["annotations"][1]["completed_by"] = {"id": 8, "email": "bob@example.org"}
    given["annotations"][2]["ground_truth"] = True
    export(tmp_path, given)
    first, second = clips("label_studio", tmp_path)
    assert first.annotators == {"annotator_7": "happy", "annotator_8": "happy"}
    assert (first.label, first.transcript, first.speaker) == ("happy", "Well.", "cy")
    assert (second.label, second.annotators, second.start) == ("sad", {}, "2.000")


def test_what_is_no_single_vote_in_seconds_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recordings(tmp_path, "a.mp4")
    two = region("choices", "happy")
    two["value"]["choices"].append("sad")
    frames = {"type": "timelinelabels", "value": {"ranges": [{"start": 1, "end": 9}]}}
    export(tmp_path, task({"video": "a.mp4"}, p1=[two, frames, region("choices", "sad")]))
    (clip,) = clips("label_studio", tmp_path)
    assert clip.label == "sad"
    assert "1 choices, 1 timelinelabels" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no export of Label Studio"),
        ("[" * 100_000, "is no export of Label Studio"),
        ('[{"audio": "a.wav"}]', "0.data: Field required"),
        ('[{"data": {"text": "no media"}}]', "names no video or sound"),
    ],
)
def test_another_json_file_is_refused_with_the_remedy(
    tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(CorpusError, match=message):
        clips("label_studio", tmp_path)


def test_an_export_too_large_to_hold_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(CorpusError, match="has 1024 MiB, at most 512 are read"):
        clips("label_studio", tmp_path)


def test_refined_labels_become_predictions_of_label_studio(tmp_path: Path) -> None:
    recordings(tmp_path, "in/a.wav", "in/b.wav")
    export(
        tmp_path / "in",
        task({"audio": "a.wav"}, p1=[region("labels", "happy", 0, 1.5)]),
        task({"audio": "b.wav"}),
    )
    before = clips("label_studio", tmp_path / "in")
    assert write_labels("label_studio", tmp_path / "in", tmp_path / "out") == 2
    first, second = json.loads((tmp_path / "out" / "export.json").read_text())
    assert first["annotations"][0]["result"][0]["value"]["labels"] == ["happy"]
    (made,) = first["predictions"]
    assert (made["model_version"], made["score"]) == ("ecmf", 0.25)
    (result,) = made["result"]
    assert result["value"] == {"labels": ["sad"], "start": 0.0, "end": 1.5}
    assert (result["from_name"], result["meta"]) == ("labels", {"text": [PROPOSAL.note]})
    assert second["predictions"][0]["result"][0]["value"] == {"labels": ["sad"]}
    recordings(tmp_path / "out", "a.wav", "b.wav")
    assert clips("label_studio", tmp_path / "out") == before, "predictions are no votes"
    write_labels("label_studio", tmp_path / "out", tmp_path / "again")
    again = (tmp_path / "again" / "export.json").read_text()
    assert again == (tmp_path / "out" / "export.json").read_text()


# --- ELAN -------------------------------------------------------------------------------------


def test_participants_of_elan_are_speakers_and_references_have_their_parents_times(
    tmp_path: Path,
) -> None:
    document = eaf(
        tmp_path,
        ({"tier_id": "A", "part": "ann"}, [(0, 2000, "happy")]),
        ({"tier_id": "B", "part": "bob"}, [(0, 2000, "sad")]),
    )
    document.add_linguistic_type("said", "Symbolic_Association", timealignable=False)
    document.add_tier("transcript", ling="said", parent="A", part="ann")
    document.add_ref_annotation("transcript", "A", 1000, "Well.")
    (tmp_path / "talk.eaf").unlink()
    document.to_file(str(tmp_path / "talk.eaf"))
    ann, bob = clips("elan", tmp_path)
    assert (ann.speaker, ann.label, ann.transcript, ann.video) == (
        "ann", "happy", "Well.", "talk.mp4",
    )  # fmt: skip
    assert (bob.speaker, bob.label, bob.transcript, bob.end) == ("bob", "sad", "", "2.000")


def rewrite(folder: Path, old: str, new: str) -> None:
    text = (folder / "talk.eaf").read_text()
    assert old in text
    (folder / "talk.eaf").write_text(text.replace(old, new))


def test_the_time_origin_of_a_recording_is_added(tmp_path: Path) -> None:
    eaf(tmp_path, ({"tier_id": "emotion"}, [(0, 2000, "happy")]))
    rewrite(tmp_path, "<MEDIA_DESCRIPTOR", '<MEDIA_DESCRIPTOR TIME_ORIGIN="1500"')
    (clip,) = clips("elan", tmp_path)
    assert (clip.start, clip.end) == ("1.500", "3.500")


def test_annotations_that_need_an_entity_or_refer_to_themselves_are_refused(tmp_path: Path) -> None:
    eaf(tmp_path, ({"tier_id": "emotion"}, [(0, 2000, "happy")]))
    declaration = "<?xml version='1.0' encoding='UTF-8'?>"
    bomb = '<!DOCTYPE x [<!ENTITY a "happy"><!ENTITY b "&a;&a;">]>'
    rewrite(tmp_path, declaration, declaration + bomb)
    with pytest.raises(CorpusError, match="DTDForbidden"):
        clips("elan", tmp_path)
    rewrite(tmp_path, bomb, "")
    circle = (
        '<TIER TIER_ID="t" PARENT_REF="t" LINGUISTIC_TYPE_REF="default-lt"><ANNOTATION>'
        '<REF_ANNOTATION ANNOTATION_ID="a9" ANNOTATION_REF="a9"><ANNOTATION_VALUE>x'
        "</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION></TIER></ANNOTATION_DOCUMENT>"
    )
    rewrite(tmp_path, "</ANNOTATION_DOCUMENT>", circle)
    with pytest.raises(CorpusError, match="'a9' refers to itself"):
        clips("elan", tmp_path)


@pytest.mark.parametrize("content", ["<ANNOTATION_DOCUMENT/>", "<", "", "\0"])
def test_a_file_that_elan_did_not_write_is_refused(tmp_path: Path, content: str) -> None:
    eaf(tmp_path)
    (tmp_path / "talk.eaf").write_text(content)
    with pytest.raises(CorpusError, match=r"talk\.eaf is no annotation"):
        clips("elan", tmp_path)


# --- Praat ------------------------------------------------------------------------------------


def test_the_recording_of_a_textgrid_is_searched_beside_it_and_in_media(tmp_path: Path) -> None:
    path = textgrid(tmp_path / "session", emotion=[(0, 2, "happy")])
    path.with_suffix(".wav").rename(tmp_path / "session" / "talk.mp4")
    assert [clip.video for clip in clips("praat", tmp_path)] == ["session/talk.mp4"]
    (tmp_path / "media").mkdir()
    (tmp_path / "session" / "talk.mp4").rename(tmp_path / "media" / "talk.mp4")
    (clip,) = clips("praat", tmp_path)
    assert (clip.video, clip.clip_id) == ("media/talk.mp4", "session_talk_0000000_0002000")
    (tmp_path / "media" / "talk.mp4").unlink()
    with pytest.raises(CorpusError, match=r"no recording talk\.wav"):
        clips("praat", tmp_path)


# --- audformat --------------------------------------------------------------------------------


def test_a_database_gives_splits_and_the_label_of_a_true_rater(tmp_path: Path) -> None:
    rows = [("a.wav", "0s", "2s", "happy"), ("a.wav", "2s", "NaT", "sad")]
    made = database(tmp_path, rows, rater="ground truth")
    audformat = pytest.importorskip("audformat")
    made.splits["dev"] = audformat.Split("dev")
    made["segments"].split_id = "dev"
    made.save(str(tmp_path), storage_format="csv")
    first, second = clips("audformat", tmp_path)
    assert (first.label, first.split, first.annotators) == ("happy", "val", {})
    assert (second.start, second.end, second.label) == ("2.000", "", "sad")


def test_neither_a_pickle_nor_a_tag_of_a_database_runs(tmp_path: Path) -> None:
    made = database(tmp_path, [("a.wav", "0s", "2s", "happy")])
    made.save(str(tmp_path), storage_format="pkl")
    with pytest.raises(CorpusError, match=r"db\.segments\.pkl is a pickle"):
        clips("audformat", tmp_path)
    (tmp_path / "db.segments.pkl").unlink()
    header = tmp_path / "db.yaml"
    text = header.read_text()
    ran = tmp_path / "ran"
    header.write_text(f"{text}\nmeta: !!python/object/apply:os.mkdir ['{ran}']\n")
    with pytest.raises(CorpusError, match="could not determine a constructor"):
        clips("audformat", tmp_path)
    assert not ran.exists()
    header.write_text(text.replace("  segments:", "  ../segments:"))
    with pytest.raises(CorpusError, match="has no name of a file"):
        clips("audformat", tmp_path)


# --- and back ---------------------------------------------------------------------------------


def overlapping(tool: str, folder: Path) -> None:
    folder.mkdir()
    if tool == "praat":
        textgrid(folder, a=[(0, 2, "happy"), (2, 4, "sad")], b=[(1, 3, "happy")])
    elif tool == "elan":
        eaf(
            folder,
            ({"tier_id": "a"}, [(0, 2000, "happy"), (2000, 4000, "sad")]),
            ({"tier_id": "b"}, [(1000, 3000, "happy")]),
        )
    else:
        rows = [("a.wav", "0s", "2s", "happy"), ("a.wav", "1s", "3s", "happy")]
        database(folder, [*rows, ("a.wav", "2s", "4s", "sad")])


def tiers_of(tool: str, folder: Path) -> dict[str, list[Any]]:
    """Return what the tool's own library reads in the tiers that were written."""
    if tool == "praat":
        praat = pytest.importorskip("praatio.textgrid")
        grid = praat.openTextgrid(str(folder / "talk.TextGrid"), False, "error")
        return {name: [tuple(e) for e in grid.getTier(name).entries] for name in grid.tierNames}
    if tool == "elan":
        document = pytest.importorskip("pympi.Elan").Eaf(str(folder / "talk.eaf"))
        return {
            name: [
                (start / 1000, end / 1000, text)
                for start, end, text in document.get_annotation_data_for_tier(name)
            ]
            for name in document.tiers
        }
    table = pytest.importorskip("audformat").Database.load(str(folder))["ecmf"].get()
    times = [(s.total_seconds(), e.total_seconds()) for _, s, e in table.index]
    return {
        name: [(*time, text) for time, text in zip(times, table[column], strict=True)]
        for name, column in (("ecmf", "label"), ("ecmf_doubt", "note"))
    }


@pytest.mark.parametrize("tool", ["praat", "elan", "audformat"])
def test_refined_labels_go_back_as_tiers_that_are_not_read_as_votes(
    tool: str, tmp_path: Path
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    overlapping(tool, folder)
    given = {path: path.read_bytes() for path in folder.iterdir()}
    assert write_labels(tool, folder, out) == 3
    assert given == {path: path.read_bytes() for path in folder.iterdir()}, "these stay as they are"
    tiers = tiers_of(tool, out)
    for name, text in (("ecmf", PROPOSAL.label), ("ecmf_doubt", PROPOSAL.note)):
        spans = sorted(tiers[name] + tiers.get(f"{name}_2", []))
        assert spans == [(0, 2, text), (1, 3, text), (2, 4, text)]
    for path, content in given.items():
        if path.suffix in (".wav", ".mp4"):
            (out / path.name).write_bytes(content)
    assert clips(tool, out) == clips(tool, folder)
    assert write_labels(tool, out, tmp_path / "again") == 3
    assert tiers_of(tool, tmp_path / "again") == tiers


def test_a_copy_for_elan_names_the_recording_from_its_new_place(tmp_path: Path) -> None:
    overlapping("elan", tmp_path / "in")
    write_labels("elan", tmp_path / "in", tmp_path / "out")
    assert 'RELATIVE_MEDIA_URL="../in/talk.mp4"' in (tmp_path / "out" / "talk.eaf").read_text()


@pytest.mark.parametrize("tool", ["praat", "elan", "audformat"])
def test_an_absent_package_is_named_with_the_remedy(
    tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.TextGrid", "a.eaf", "db.yaml"):
        (tmp_path / name).write_text("")
    for package in ("praatio", "praatio.textgrid", "pympi", "pympi.Elan", "audformat"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"pip install '\.\[labels\]'"):
        clips(tool, tmp_path)
