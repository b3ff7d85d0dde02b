import io
import os
from pathlib import Path

import pytest

from ecmf.cli.predict import expand
from ecmf.data.manifest import Clip, write_manifest
from ecmf.decoding.clip_decoder import ClipDecoder
from ecmf.errors import CorpusError, MissingFileError
from ecmf.inference.new_files import clip_of, clips_of
from ecmf.params import DecodeVideo


def names(clips):
    return [(clip.video, clip.audio) for clip in clips]


def test_of_a_folder_all_files_of_video_and_audio_are_taken_sorted_by_name(tmp_path):
    for name in ("b.MKV", "a.mp4", "sub/c.opus", "notes.txt", "picture.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = clips_of([str(tmp_path)])
    assert names(found) == [
        (f"{tmp_path}/a.mp4", ""), (f"{tmp_path}/b.MKV", ""), ("", f"{tmp_path}/sub/c.opus"),
    ]  # fmt: skip
    assert {clip.split for clip in found} == {"unlabelled"}


def test_a_folder_with_a_table_gives_its_clips_with_their_transcripts(tmp_path):
    (tmp_path / "one.wav").write_bytes(b"1")
    (tmp_path / "other.wav").write_bytes(b"2")
    (tmp_path / "clips.csv").write_text("clip_id,audio,transcript\nfirst,one.wav,Hello.\n")
    (clip,) = clips_of([str(tmp_path)])
    assert (clip.clip_id, clip.transcript) == ("first", "Hello.")


def test_a_manifest_gives_its_clips(tmp_path):
    clips = [Clip("a", transcript="x", split="unlabelled"), Clip("b", label="sad", split="test")]
    write_manifest(clips, tmp_path / "mine.csv")
    assert clips_of([str(tmp_path / "mine.csv")]) == clips


def test_a_path_given_twice_is_one_clip():
    assert len(clips_of(["a.mp4", "./a.mp4"])) == 1


def test_two_clips_of_one_id_are_refused(tmp_path):
    for number, text in enumerate("xy"):
        clip = Clip("a", transcript=text, split="unlabelled")
        write_manifest([clip], tmp_path / f"{number}.csv")
    with pytest.raises(CorpusError, match="another clip has the id 'a'"):
        clips_of([str(tmp_path / "0.csv"), str(tmp_path / "1.csv")])


def test_a_folder_without_media_is_an_error(tmp_path):
    with pytest.raises(MissingFileError, match="no file of video or audio"):
        clips_of([str(tmp_path)])


def test_a_name_with_escape_sequences_has_an_id_that_can_be_printed():
    clip = clip_of(Path("a\x1b[2J\n.mp4"))
    assert clip.clip_id.isprintable()
    assert clip.video == "a\x1b[2J\n.mp4"


def test_names_that_no_file_can_have_are_refused():
    for name in (f"{'x' * 300}.mp4", f"{'a/' * 2100}x.mp4"):
        with pytest.raises(MissingFileError, match="is too long for the name of a file"):
            clips_of([name])


def test_a_name_with_escape_sequences_does_not_reach_a_terminal_by_its_reason():
    decoded = ClipDecoder(DecodeVideo())(clip_of(Path("a\x1b[2J\n\0.mp4")))
    assert decoded.frames.reason == r"a\x1b[2J\n\x00.mp4: there is no such file"


def test_a_list_of_names_of_any_encoding_is_read(monkeypatch):
    listed = b"-rf.mp4\n\n=cmd.mp4\n\xff.mp4\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(listed), "utf-8"))
    assert [os.fsencode(path) for path in expand(["a.mp4", "-"])] == [
        b"a.mp4", b"-rf.mp4", b"=cmd.mp4", b"\xff.mp4",
    ]  # fmt: skip
