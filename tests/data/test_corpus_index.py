"""A folder becomes a manifest only if every one of its clips can be trusted."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from command import run_ecmf

from ecmf.cli.index import index_corpus
from ecmf.data.corpus_index import collect_clips
from ecmf.data.manifest import Clip, read_manifest, write_manifest
from ecmf.errors import CorpusError, MissingFileError, ParamsError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def folder(project: Path) -> Path:
    place = Path("data") / "raw" / "mine"
    place.mkdir(parents=True)
    (place / "a.wav").write_bytes(b"first sound")
    (place / "a.mp4").write_bytes(b"first picture")
    (place / "b.wav").write_bytes(b"second sound")
    return place


def index_lines(folder: Path, *lines: str, corpus: str = "sample") -> list[Clip]:
    (folder / "clips.csv").write_text("\n".join(["clip_id,video,audio,label", *lines, ""]))
    return collect_clips(corpus, folder)


def test_clips_get_paths_from_the_project_and_the_hash_of_their_files(folder: Path) -> None:
    both, sound = index_lines(folder, "a,a.mp4,a.wav,happy", "b,,b.wav,sad")
    assert (both.video, both.audio) == ("data/raw/mine/a.mp4", "data/raw/mine/a.wav")
    assert both.sha256 == hashlib.sha256(b"first picturefirst sound").hexdigest()
    assert (sound.video, sound.audio) == ("", "data/raw/mine/b.wav")
    assert sound.sha256 == hashlib.sha256(b"second sound").hexdigest()


def test_pieces_of_a_file_share_its_hash_and_keep_their_borders(folder: Path) -> None:
    (folder / "clips.csv").write_text(
        "clip_id,audio,label,start,end\na,a.wav,sad,0,1.5\nb,a.wav,happy,1.5,\nc,b.wav,sad,,\n"
    )
    clips = collect_clips("folder", folder)
    assert [(clip.start, clip.end) for clip in clips] == [("0", "1.5"), ("1.5", ""), ("", "")]
    first, second = (hashlib.sha256(f"{n} sound".encode()).hexdigest() for n in ("first", "second"))
    assert [clip.sha256 for clip in clips] == [first, first, second]
    assert [Path(clip.audio).name for clip in clips] == ["a.wav", "a.wav", "b.wav"]


def test_a_clip_of_text_alone_has_neither_paths_nor_a_hash(folder: Path) -> None:
    (folder / "clips.csv").write_text(
        "clip_id,audio,transcript,label\na,,Well.,sad\nb,b.wav,,sad\n"
    )
    text, sound = collect_clips("sample", folder)
    assert (text.video, text.audio, text.sha256, text.transcript) == ("", "", "", "Well.")
    assert sound.sha256
    (folder / "clips.csv").write_text("clip_id,transcript,label\na,  ,sad\n")
    with pytest.raises(CorpusError, match="clip 'a' has no video, no audio and no transcript"):
        collect_clips("sample", folder)


def test_an_absolute_folder_in_the_project_gives_the_same_clips(folder: Path) -> None:
    relative = index_lines(folder, "a,a.mp4,,happy")
    assert collect_clips("sample", folder.absolute()) == relative


def test_paths_outside_the_project_are_absolute(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.wav").write_bytes(b"sound")
    (clip,) = index_lines(elsewhere, "a,,a.wav,happy")
    assert clip.audio == (elsewhere / "a.wav").as_posix()


def test_indexed_clips_can_be_written_and_read_back(folder: Path) -> None:
    clips = index_lines(folder, "a,a.mp4,,happy", "b,,b.wav,")
    write_manifest(clips, Path("data/manifests/sample.csv"))
    assert read_manifest(Path("data/manifests/sample.csv")) == clips


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("x,,gone.wav,happy", r"clip 'x': 'gone.wav' is not in .*: add the file"),
        ("x,,../../outside.wav,happy", "leads out of"),
        ("x,,link.wav,happy", "leads out of"),
        ("x,,linked/outside.wav,happy", "leads out of"),
        ("x,,inner/../link.wav,happy", "leads out of"),
        ("x,,loop.wav,happy", "cannot be reached|is not in"),
        ("x,,inner,happy", "is not a regular file"),
        ("x,,pipe,happy", "is not a regular file"),
        ("x,,,happy", "clip 'x' has no video, no audio and no transcript: add one of them"),
        ("x,,b\x07.wav,happy", "has an unprintable character"),
        ("in/side,,b.wav,happy", "ids become file names"),
        ("in\\side,,b.wav,happy", "ids become file names"),
        (".hidden,,b.wav,happy", "ids become file names"),
        ("..,,b.wav,happy", "ids become file names"),
        ("bell\x07,,b.wav,happy", "ids become file names"),
        ("nul\x00,,b.wav,happy", "line 3 holds a NUL character"),
        (f"{'é' * 101},,b.wav,happy", "ids become file names"),
        (",,b.wav,happy", "a clip without an id"),
        ("a,,b.wav,happy", "clip id 'a' appears twice"),
        ("x,,b.wav,hapy", "unknown label 'hapy', the classes are neutral, .* Did you mean 'happy'"),
    ],
)
def test_a_clip_that_cannot_be_trusted_is_refused(folder: Path, line: str, error: str) -> None:
    outside = folder.parents[2] / "outside.wav"
    outside.write_bytes(b"not yours")
    (folder / "link.wav").symlink_to(outside.absolute())
    (folder / "linked").symlink_to(outside.parent.absolute())
    (folder / "loop.wav").symlink_to("loop.wav")
    (folder / "inner").mkdir()
    os.mkfifo(folder / "pipe")
    with pytest.raises(CorpusError, match=error):
        index_lines(folder, "a,,a.wav,happy", line)


def test_an_absolute_name_is_refused_even_inside_the_folder(folder: Path) -> None:
    with pytest.raises(CorpusError, match=r"is absolute: write it relative to"):
        index_lines(folder, f"a,,{folder.absolute() / 'a.wav'},happy")


def test_a_link_that_stays_in_the_folder_is_a_file_like_any_other(folder: Path) -> None:
    (folder / "again.wav").symlink_to("a.wav")
    (clip,) = index_lines(folder, "a,,again.wav,happy")
    assert clip.audio == "data/raw/mine/again.wav"


def test_links_out_of_the_folder_are_followed_only_if_asked(folder: Path, tmp_path: Path) -> None:
    blobs = tmp_path / "hub" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "0a1b").write_bytes(b"sound")
    (folder / "far.wav").symlink_to(blobs / "0a1b")
    (folder / "more").symlink_to(blobs)
    (folder / "lost.wav").symlink_to(blobs / "none")
    (folder / "again.wav").symlink_to("a.wav")
    lines = ["x,,far.wav,happy", "y,,more/0a1b,sad", "z,,again.wav,sad"]
    with pytest.raises(CorpusError, match=r"leads out of .* or index with --follow-links"):
        index_lines(folder, *lines)
    found = collect_clips("sample", folder, follow_links=True)
    assert [clip.audio for clip in found] == [
        (blobs / "0a1b").as_posix(), (blobs / "0a1b").as_posix(), "data/raw/mine/again.wav"
    ]  # fmt: skip
    assert found[0].sha256 == hashlib.sha256(b"sound").hexdigest()
    (folder / "clips.csv").write_text("clip_id,audio\nx,lost.wav\n")
    with pytest.raises(CorpusError, match=r"'lost\.wav' is not in"):
        collect_clips("sample", folder, follow_links=True)


def test_a_name_in_another_unicode_normal_form_is_found(folder: Path) -> None:
    (folder / "cafe\u0301").mkdir()
    (folder / "cafe\u0301" / "e\u0301.wav").write_bytes(b"sound")
    (clip,) = index_lines(folder, "x,,caf\u00e9/\u00e9.wav,happy")
    assert Path(clip.audio).read_bytes() == b"sound"
    with pytest.raises(CorpusError, match="/\u00e8\\.wav' is not in"):
        index_lines(folder, "x,,caf\u00e9/\u00e8.wav,happy")


def test_pointers_of_git_lfs_are_named_once_with_their_count(folder: Path) -> None:
    for number in range(300):
        (folder / f"{number}.wav").write_text(
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{number:064}\nsize 7000\n"
        )
    with pytest.raises(CorpusError, match=r"pointer of git-lfs.*`git lfs pull`") as error:
        index_lines(folder, *(f"c{n},,{n}.wav,happy" for n in range(300)))
    lines = str(error.value).splitlines()
    assert lines[0].endswith("300 errors") and lines[-1].strip() == "... and 297 more like these"
    assert len(lines) == 5


@pytest.mark.parametrize("word", ["nan", "None", "NA", "N/A", "NULL", "<NA>"])
def test_the_word_of_a_program_for_an_empty_cell_is_no_class_and_no_text(
    folder: Path, word: str, caplog: pytest.LogCaptureFixture
) -> None:
    head = "clip_id,audio,transcript,speaker,label\n"
    (folder / "clips.csv").write_text(f"{head}a,a.wav,{word},s,joy\nb,b.wav,Nan is here,s,joy\n")
    first, second = collect_clips("folder", folder)
    assert (first.transcript, second.transcript) == ("", "Nan is here")
    assert f"1 transcripts are '{word}'" in caplog.text
    (folder / "clips.csv").write_text(f"{head}a,a.wav,x,s,{word}\nb,b.wav,x,{word},joy\n")
    with pytest.raises(CorpusError, match=rf"label is '{word}', as(.|\n)*speaker is '{word}', as"):
        collect_clips("folder", folder)


def test_all_errors_are_reported_at_once(folder: Path) -> None:
    with pytest.raises(CorpusError, match=r"(?s)gone\.wav.*lost\.mp4.*'hapy'.*'a' appears twice"):
        index_lines(folder, "a,,gone.wav,happy", "b,lost.mp4,,hapy", "a,,a.wav,sad")


def test_the_classes_of_a_plain_folder_are_the_labels_in_it(folder: Path) -> None:
    clips = index_lines(folder, "a,,a.wav,grumpy", "b,,b.wav,elated", corpus="folder")
    assert [clip.label for clip in clips] == ["grumpy", "elated"]


def test_a_folder_without_clips_is_refused(folder: Path) -> None:
    with pytest.raises(CorpusError, match="holds no clip of corpus 'sample'"):
        index_lines(folder)


def test_a_missing_folder_is_named(project: Path) -> None:
    with pytest.raises(MissingFileError, match="no folder nowhere"):
        collect_clips("sample", Path("nowhere"))


def test_an_unknown_corpus_gets_a_suggestion(project: Path) -> None:
    with pytest.raises(ParamsError, match="Did you mean 'ravdess'"):
        collect_clips("ravdes", Path())


# --- the command ------------------------------------------------------------------------------


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run_ecmf("index", *arguments)


def test_the_command_writes_the_manifest_and_prints_a_summary(folder: Path) -> None:
    index_lines(folder, "a,a.mp4,,happy", "b,,b.wav,")
    done = run("folder", folder, "--name", "mine")
    assert done.returncode == 0, done.stderr
    assert "2 clips, 0 speakers, 1 classes" in done.stdout
    assert "train: 1 clips (happy 1)" in done.stdout
    assert "unlabelled: 1 clips" in done.stdout
    assert "1 clips without video" in done.stdout
    assert "next:\n  git add data/manifests/mine.csv\n  dvc exp run -S corpus=mine\n" in done.stdout
    assert [clip.clip_id for clip in read_manifest(Path("data/manifests/mine.csv"))] == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["sampel", "data/raw/mine"], "Did you mean 'sample'?"),
        (["sample", "data/raw/yours"], "no folder data/raw/yours"),
        (["folder", "data/raw/mine", "--name", "../up"], "use letters, digits, - and _ only"),
        (["folder", "data/raw/mine", "--name", "ravdess"], "is the name of another corpus"),
    ],
)
def test_a_user_error_is_one_line_and_writes_nothing(
    folder: Path, arguments: list[str], error: str
) -> None:
    done = run(*arguments)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert error in done.stderr
    assert not Path("data/manifests").exists()


@pytest.fixture
def leaking(folder: Path) -> Path:
    """Make a corpus with a file in training and in test, and a speaker in both."""
    (folder / "clips.csv").write_text(
        "clip_id,audio,speaker,split,label\na,a.wav,p,train,joy\nb,a.wav,p,test,joy\n"
        "c,b.wav,q,train,sad\nd,a.mp4,r,test,sad\n"
    )
    return folder


def test_content_on_both_sides_of_a_split_is_refused_unless_allowed(leaking: Path) -> None:
    with pytest.raises(CorpusError, match=r"1 error\n.*'a' \(train\) and 'b' \(test\) have the"):
        index_corpus("folder", leaking, "mine")
    assert not Path("data/manifests").exists()
    text = index_corpus("folder", leaking, "mine", allow_shared_content=True)
    assert "warning: 1 files have the same content on both sides of the splits" in text


def test_a_speaker_on_both_sides_is_a_warning(leaking: Path) -> None:
    text = index_corpus("folder", leaking, "mine", allow_shared_content=True)
    assert "warning: 1 of 2 speakers of the split test are in training too" in text
    assert "groups of the split" not in text  # they are the speakers


def test_a_clip_mended_in_place_is_noticed_when_asked(folder: Path) -> None:
    index_lines(folder, "a,a.mp4,,happy", "b,,b.wav,sad")
    index_corpus("folder", folder, "mine")
    before = Path("data/manifests/mine.csv").read_bytes()
    assert "all 2 clips are as" in index_corpus("folder", folder, "mine", check=True)
    (folder / "a.mp4").write_bytes(b"mended")
    index_lines(folder, "a,a.mp4,,happy", "b,,b.wav,happy", "c,,a.wav,sad")
    with pytest.raises(CorpusError) as error:
        index_corpus("folder", folder, "mine", check=True)
    for text in ("'a': its files have changed", "'b': its row has changed", "'c' is new"):
        assert text in str(error.value)
    assert "index the corpus again without --check" in str(error.value)
    assert Path("data/manifests/mine.csv").read_bytes() == before


def test_the_real_ravdess_becomes_a_manifest(shared: Path, project: Path) -> None:
    done = run("ravdess", shared / "data" / "ravdess")
    assert done.returncode == 0, done.stderr
    assert "960 clips, 16 speakers, 8 classes" in done.stdout
    assert len(read_manifest(Path("data/manifests/ravdess.csv"))) == 960
