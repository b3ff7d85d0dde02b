"""The interface of a corpus, tested for every plugin; then the rules of each corpus."""

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import annotations
import pytest

from ecmf import registry
from ecmf.data.manifest import UNLABELLED_SPLITS, Clip, classes_of
from ecmf.errors import CorpusError, UserError

CORPORA = [*registry.names("corpora"), registry.EXAMPLE]


def _listed_folder(folder: Path) -> None:
    (folder / "a.wav").write_bytes(b"first")
    (folder / "b.mp4").write_bytes(b"second")
    (folder / "clips.csv").write_text("clip_id,video,audio,label\na,,a.wav,happy\nb,b.mp4,,\n")


def _ravdess(folder: Path) -> None:
    (folder / "Actor_02").mkdir()
    (folder / "Actor_02" / "03-01-03-01-01-01-02.wav").write_bytes(b"first")
    (folder / "Actor_02" / "01-01-04-01-02-01-02.mp4").write_bytes(b"second")


def _mer2025(folder: Path) -> None:
    (folder / "video").mkdir()
    (folder / "video" / "a.mp4").write_bytes(b"first")
    (folder / "video" / "b.mp4").write_bytes(b"second")
    (folder / "subtitle_chieng.csv").write_text("name,chinese,english\na,,Well.\n")
    (folder / "track1_train_disdim.csv").write_text("name,discrete,valence\nb,happy,2.0\n")
    (folder / "track_all_candidates.csv").write_text("name\na\n")


def _meld(folder: Path) -> None:
    head = "Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID\n"
    (folder / "train_sent_emo.csv").write_text(f"{head}Well.,Ann,joy,0,0\n")
    (folder / "dev_sent_emo.csv").write_text(f"{head}No!,Bob,anger,0,0\n")
    (folder / "test_sent_emo.csv").write_text(head)
    (folder / "train_splits").mkdir()
    (folder / "train_splits" / "dia0_utt0.mp4").write_bytes(b"first")


def _example(folder: Path) -> None:
    for label, name in (("happy", "ann_01.mp4"), ("sad", "bob_07.wav")):
        (folder / label).mkdir()
        (folder / label / name).write_bytes(label.encode())


def _label_studio(folder: Path) -> None:
    for name in ("a.wav", "b.mp4"):
        (folder / name).write_bytes(name.encode())
    annotations.export(
        folder,
        annotations.task({"audio": "a.wav"}, p1=[annotations.region("choices", "happy")]),
        annotations.task({"video": "b.mp4"}),
    )


def _praat(folder: Path) -> None:
    annotations.textgrid(folder, emotion=[(0, 2, "happy"), (2.5, 4, "sad")])


def _elan(folder: Path) -> None:
    annotations.eaf(folder, ({"tier_id": "emotion"}, [(0, 2000, "happy"), (2500, 4000, "sad")]))


def _audformat(folder: Path) -> None:
    annotations.database(folder, [("a.wav", "0s", "2s", "happy"), ("b.wav", "1s", "2s", "sad")])


SMALLEST: dict[str, Callable[[Path], None]] = {
    "folder": _listed_folder,
    "sample": _listed_folder,
    "ravdess": _ravdess,
    "mer2025": _mer2025,
    "meld": _meld,
    "example": _example,
    "label_studio": _label_studio,
    "praat": _praat,
    "elan": _elan,
    "audformat": _audformat,
}


def clips(corpus: str, folder: Path) -> list[Clip]:
    return list(registry.load("corpora", corpus).Corpus().clips(folder))


@pytest.fixture(params=CORPORA)
def corpus(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(corpus: str, tmp_path: Path) -> Path:
    if corpus not in SMALLEST:
        pytest.fail(f"no smallest folder of {corpus!r} in SMALLEST: add one, of two clips")
    SMALLEST[corpus](tmp_path)
    return tmp_path


def test_a_corpus_declares_each_of_its_classes_once(corpus: str) -> None:
    classes = registry.load("corpora", corpus).Corpus.classes
    assert isinstance(classes, tuple)
    assert len(set(classes)) == len(classes)
    assert "" not in classes


def test_a_corpus_declares_whether_it_may_be_redistributed(corpus: str) -> None:
    assert isinstance(registry.load("corpora", corpus).Corpus.gated, bool)
    assert registry.load("corpora", "mer2025").Corpus.gated


def test_a_corpus_yields_the_same_clips_twice(corpus: str, folder: Path) -> None:
    assert clips(corpus, folder) == clips(corpus, folder)


def test_a_corpus_names_files_of_its_folder_with_unique_ids(corpus: str, folder: Path) -> None:
    found = clips(corpus, folder)
    assert len({clip.clip_id for clip in found}) == len(found) == 2
    for clip in found:
        assert clip.sources or clip.transcript
        assert all((folder / source).is_file() for source in clip.sources)
        assert not any(source.is_absolute() for source in clip.sources)


def test_every_clip_has_a_group_and_a_label_of_the_corpus(corpus: str, folder: Path) -> None:
    classes = registry.load("corpora", corpus).Corpus.classes
    for clip in clips(corpus, folder):
        assert clip.group
        assert clip.label in classes or not (classes and clip.label)
        assert (clip.split in UNLABELLED_SPLITS) == (clip.label == "")


def test_a_folder_that_is_not_the_corpus_gives_no_clip(corpus: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    try:
        assert clips(corpus, tmp_path) == []
    except UserError as error:
        assert str(tmp_path) in str(error)


# --- a folder with clips.csv ------------------------------------------------------------------


def write(folder: Path, text: str, encoding: str = "utf-8") -> None:
    (folder / "clips.csv").write_text(text, encoding=encoding)


def test_a_missing_group_is_the_speaker_or_else_the_clip(tmp_path: Path) -> None:
    write(tmp_path, "clip_id,audio,speaker,group,label\na,a,ann,g1,x\nb,b,ann,,x\nc,c,,,x\n")
    assert [clip.group for clip in clips("folder", tmp_path)] == ["g1", "ann", "c"]


def test_pieces_of_a_file_are_one_group_where_none_is_named(tmp_path: Path) -> None:
    write(
        tmp_path,
        "clip_id,video,speaker,start,end\na,f.mp4,,0,2\nb,f.mp4,,2.5,4\nc,f.mp4,ann,5,\nd,f.mp4,,,\n",
    )
    pieces = list(clips("folder", tmp_path))
    assert [clip.group for clip in pieces] == ["f.mp4", "f.mp4", "ann", "d"]
    assert [(clip.start, clip.end) for clip in pieces[1:]] == [("2.5", "4"), ("5", ""), ("", "")]


def test_a_missing_split_is_train_where_there_is_a_label(tmp_path: Path) -> None:
    write(tmp_path, "clip_id,audio,split,label\na,a,,x\nb,b,,\nc,c,test,x\n")
    assert [clip.split for clip in clips("folder", tmp_path)] == ["train", "unlabelled", "test"]


def test_a_list_of_texts_alone_is_read(tmp_path: Path) -> None:
    write(tmp_path, "clip_id,transcript,dialogue,label\na,Well.,d,x\nb,No!,d,x\n")
    found = [(clip.transcript, clip.dialogue, clip.sources) for clip in clips("folder", tmp_path)]
    assert found == [("Well.", "d", []), ("No!", "d", [])]


def test_the_labels_of_annotators_are_kept_under_their_columns(tmp_path: Path) -> None:
    write(tmp_path, "clip_id,audio,label,annotator_1,annotator_2\na,a,x,x,\n")
    assert clips("folder", tmp_path)[0].annotators == {"annotator_1": "x", "annotator_2": ""}


def test_a_list_saved_by_a_spreadsheet_is_read(tmp_path: Path) -> None:
    write(tmp_path, 'clip_id,audio,transcript,label\r\na,a," Yes, é 你好. ",x\r\n', "utf-8-sig")
    assert clips("folder", tmp_path)[0].transcript == "Yes, é 你好."


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "is empty: start with the header"),
        ("audio,label\na,x\n", "no column clip_id"),
        ("clip_id,label\na,x\n", "no column video, audio or transcript"),
        ("clip_id,audio,audio\na,a,a\n", "column 'audio' appears twice"),
        ("clip_id,audio,transcript\na,a,Yes, no\n", r"line 2 \('a'\) has 4 fields, the header 3"),
        ("clip_id,audio,label\na,a,sad\nb,b,Sad\n", "label 'Sad' was 'sad' before"),
        ("clip_id,audio,valence\na,a,high\n", "valence 'high' is not a number"),
        ("clip_id,audio,valence\na,a,nan\n", "valence 'nan' is not a number"),
    ],
)
def test_a_malformed_list_is_refused(tmp_path: Path, text: str, error: str) -> None:
    write(tmp_path, text)
    with pytest.raises(CorpusError, match=error):
        clips("folder", tmp_path)


def test_columns_that_are_not_read_are_listed_in_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "clip_id,audio,lable,begin,sha256\na,a,x,0.5,0\n")
    with caplog.at_level(logging.WARNING):
        (clip,) = clips("folder", tmp_path)
    assert "not read: 'lable' Did you mean 'label'?; 'begin'; 'sha256'" in caplog.text
    assert (clip.label, clip.split, clip.sha256) == ("", "unlabelled", "")


def test_a_list_in_another_encoding_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "clip_id,audio,transcript\na,a,é\n", "latin-1")
    with pytest.raises(CorpusError, match="is not UTF-8"):
        clips("folder", tmp_path)


# --- RAVDESS ----------------------------------------------------------------------------------


def write_files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def test_an_official_name_is_read_in_full(tmp_path: Path) -> None:
    write_files(tmp_path, "Actor_07/03-01-05-02-02-01-07.flac")
    (clip,) = clips("ravdess", tmp_path)
    assert clip == Clip(
        clip_id="03-01-05-02-02-01-07",
        audio="Actor_07/03-01-05-02-02-01-07.flac",
        transcript="Dogs are sitting by the door.",
        language="en",
        speaker="actor_07",
        group="actor_07",
        split="train",
        label="angry",
    )


def test_a_performance_in_several_modalities_is_one_clip(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        *("01-01-01-01-01-01-01.mp4", "02-01-01-01-01-01-01.mp4", "03-01-01-01-01-01-01.wav"),
        *("02-01-02-01-01-01-01.mp4", "03-01-02-01-01-01-01.wav"),
    )
    both, apart = clips("ravdess", tmp_path)
    assert (both.video, both.audio) == ("01-01-01-01-01-01-01.mp4", "")
    assert (apart.video, apart.audio) == ("02-01-02-01-01-01-01.mp4", "03-01-02-01-01-01-01.wav")
    assert apart.clip_id == "02-01-02-01-01-01-01"


def test_songs_are_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_files(tmp_path, "03-01-01-01-01-01-01.wav", "03-02-01-01-01-01-01.wav")
    with caplog.at_level(logging.WARNING):
        assert [clip.clip_id for clip in clips("ravdess", tmp_path)] == ["03-01-01-01-01-01-01"]
    assert "1 songs left out" in caplog.text


def test_recordings_below_a_linked_folder_are_read(tmp_path: Path) -> None:
    write_files(tmp_path, "all/Actor_01/03-01-01-01-01-01-01.wav")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "Actor_01").symlink_to(tmp_path / "all" / "Actor_01")
    (tmp_path / "here" / "up").symlink_to(tmp_path / "here")
    assert len(clips("ravdess", tmp_path / "here")) == 1


def test_hidden_files_of_an_archive_are_no_recordings(tmp_path: Path) -> None:
    write_files(tmp_path, "03-01-01-01-01-01-01.wav", "._03-01-01-01-01-01-01.wav")
    assert len(clips("ravdess", tmp_path)) == 1


@pytest.mark.parametrize(
    ("names", "error"),
    [
        (["happy.wav"], "'happy.wav' is not named modality-channel"),
        (["03-01-09-01-01-01-01.wav"], "is not named"),
        (["03-01-01-01-01-01-25.wav"], "is not named"),
        (["03-01-01-01-01-01-01.wav", "all/03-01-01-01-01-01-01.wav"], "duplicates"),
        (["03-01-01-01-01-01-01.wav", "03-01-01-01-01-01-01.flac"], "duplicates"),
        (["01-01-01-01-01-01-01.wav"], "modality 01 is not a .wav"),
    ],
)
def test_recordings_that_contradict_their_names_are_refused(
    tmp_path: Path, names: list[str], error: str
) -> None:
    write_files(tmp_path, *names)
    with pytest.raises(CorpusError, match=error):
        clips("ravdess", tmp_path)


def test_the_real_ravdess_is_read_whole(shared: Path) -> None:
    found = clips("ravdess", shared / "data" / "ravdess")
    assert len(found) == 960
    assert len({clip.speaker for clip in found}) == 16
    counts = Counter(clip.label for clip in found)
    assert counts["neutral"] == 64
    assert {counts[label] for label in counts if label != "neutral"} == {128}
    assert len(counts) == 8
    assert [clip.clip_id for clip in found] == sorted(
        (clip.clip_id for clip in found), key=lambda name: (name[-2:], name)
    )


# --- example ----------------------------------------------------------------------------------


def test_a_manifest_that_is_called_example_has_the_classes_of_its_own_labels(
    tmp_path: Path,
) -> None:
    own = [Clip("a", label="joy"), Clip("b", label="anger")]
    assert classes_of(tmp_path / "example.csv", own) == ("anger", "joy")


def test_a_file_of_the_example_under_another_name_is_an_error(tmp_path: Path) -> None:
    _example(tmp_path)
    (tmp_path / "sad" / "bob.wav").write_bytes(b"")
    with pytest.raises(CorpusError, match=r"sad/bob\.wav is not named <speaker>_<number>"):
        clips("example", tmp_path)
