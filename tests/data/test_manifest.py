from dataclasses import replace

import pytest

from ecmf.data.manifest import Clip, classes_of, read_manifest, write_manifest
from ecmf.errors import CorpusError, MissingFileError

CLIPS = [
    Clip("a", "raw/a.mp4", transcript="Oh, no.", speaker="s1", group="s1", label="sad"),
    Clip("b", audio="raw/b.wav", split="test", label="happy", annotators={"annotator_1": "sad"}),
    Clip("c", "raw/c.mp4", split="unlabelled"),
    Clip("d", "raw/d.mp4", split="candidate"),
]


def test_a_written_manifest_is_read_back(tmp_path):
    write_manifest(CLIPS, tmp_path / "mine.csv")
    a, b, c, d = read_manifest(tmp_path / "mine.csv")
    assert (a.transcript, a.label) == ("Oh, no.", "sad")
    assert b.annotators == {"annotator_1": "sad"}
    assert [str(path) for path in b.sources] == ["raw/b.wav"]
    assert (c.split, c.label) == ("unlabelled", "")
    assert (d.split, d.label) == ("candidate", "")


def test_classes_have_the_order_of_the_corpus_or_of_the_alphabet(tmp_path):
    assert classes_of(tmp_path / "mine.csv", CLIPS) == ("happy", "sad")
    assert classes_of(tmp_path / "sample.csv", CLIPS)[:3] == ("neutral", "angry", "happy")


def test_an_absent_manifest_says_how_to_make_one(tmp_path):
    with pytest.raises(MissingFileError, match=r"`ecmf index .*queued experiment, also `git add "):
        read_manifest(tmp_path / "none.csv")


def test_a_table_that_is_no_manifest_names_the_missing_columns(tmp_path):
    (tmp_path / "mine.csv").write_text("clip_id,video\na,a.mp4\n")
    with pytest.raises(CorpusError, match=r"10 errors\n.*no column audio\n.*no column tr"):
        read_manifest(tmp_path / "mine.csv")


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (Clip("a", "x.mp4", label="sad"), "clip id 'a' appears twice"),
        (Clip("e", "x.mp4", label="sadd"), "unknown label 'sadd'.*Did you mean 'sad'"),
        (
            Clip("e", "x.mp4", label="sad", split="tset"),
            "split 'tset' is none of.*Did you mean 'test'",
        ),
        (
            Clip("e", "x.mp4", label="sad", split="dev"),
            "split 'dev' is none of.*Did you mean 'val'",
        ),
        (Clip("e", "x.mp4"), "clip 'e': no label, but split 'train'"),
        (
            Clip("e", "x.mp4", label="sad", split="candidate"),
            "clip 'e': label 'sad', but split 'candidate'",
        ),
    ],
)
def test_a_contradictory_clip_is_refused_by_name(tmp_path, clip, message):
    write_manifest([*CLIPS, clip], tmp_path / "sample.csv")
    with pytest.raises(CorpusError, match=message):
        read_manifest(tmp_path / "sample.csv")


def test_all_errors_are_in_one_message(tmp_path):
    write_manifest([*CLIPS, *CLIPS], tmp_path / "mine.csv")
    with pytest.raises(CorpusError, match="4 errors"):
        read_manifest(tmp_path / "mine.csv")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text.replace(b"\nb,", b"\nb,more,", 1), "line 3 \\('b'\\) has 14 fields"),
        (lambda text: text.replace(b"raw", b"r\xe9w", 1), "is not UTF-8"),
        (lambda text: text.replace(b"raw", b"r\0w", 1), "line 2 holds a NUL character"),
        (lambda text: text.replace(b"raw/c", b'"raw/c', 1), "line 4: a quote that opens there"),
    ],
)
def test_a_damaged_manifest_is_refused_with_the_place(tmp_path, damage, message):
    write_manifest(CLIPS, tmp_path / "mine.csv")
    (tmp_path / "mine.csv").write_bytes(damage((tmp_path / "mine.csv").read_bytes()))
    with pytest.raises(CorpusError, match=message):
        read_manifest(tmp_path / "mine.csv")


def test_a_text_with_any_line_end_survives_the_manifest(tmp_path):
    clips = [Clip(str(i), transcript=f"a{end}b", label="x") for i, end in enumerate(("\r", "\r\n"))]
    write_manifest(clips, tmp_path / "mine.csv")
    assert read_manifest(tmp_path / "mine.csv") == clips


def test_a_manifest_has_the_columns_of_pieces_only_if_a_clip_is_one(tmp_path):
    write_manifest(CLIPS, tmp_path / "mine.csv")
    assert "start" not in (tmp_path / "mine.csv").read_text().splitlines()[0]
    pieces = [*CLIPS, Clip("e", "e.mp4", split="unlabelled", start="1.5", end="2")]
    write_manifest(pieces, tmp_path / "mine.csv")
    assert read_manifest(tmp_path / "mine.csv")[-1].start == "1.5"
    assert [clip.end for clip in read_manifest(tmp_path / "mine.csv")] == ["", "", "", "", "2"]


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (Clip("e", "e.mp4", start="1:30"), "'e': start '1:30' is no number of seconds"),
        (Clip("e", "e.mp4", start="2", end="2"), "'e': start 2 and end 2 are no piece"),
        (Clip("e", "e.mp4", start="-1"), "start -1 and end inf are no piece"),
        (Clip("e", transcript="Well.", end="2"), "of a clip without video and audio"),
    ],
)
def test_a_piece_that_cannot_be_is_refused(tmp_path, clip, message):
    write_manifest([replace(clip, split="unlabelled")], tmp_path / "mine.csv")
    with pytest.raises(CorpusError, match=message):
        read_manifest(tmp_path / "mine.csv")
