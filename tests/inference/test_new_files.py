from pathlib import Path

import pytest

from ecmf.data.manifest import Clip, write_manifest
from ecmf.errors import CorpusError, MissingFileError
from ecmf.inference.new_files import clip_of, clips_of


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
