"""The official layout of MER2025 is read in full, at its size, and nothing of it comes near git."""

import csv
import logging
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from command import run_ecmf
from filming import film, number_of, tone

from decode_video import decode_video
from ecmf import registry
from ecmf.corpora import mer2025, sample
from ecmf.data.corpus_index import collect_clips
from ecmf.data.manifest import Clip, read_manifest, write_manifest
from ecmf.errors import CorpusError, MissingFileError, UserError
from ecmf.params import DecodeVideo
from ecmf.storage.jpeg import decode_jpeg
from ecmf.storage.store import Store

ROOT = Path(__file__).resolve().parents[2]
GATED = [name for name in registry.names("corpora") if registry.load("corpora", name).Corpus.gated]

Lines = Iterable[Sequence[object]]


def write(table: Path, *lines: Sequence[object]) -> None:
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)


def lay_out(
    folder: Path,
    videos: Iterable[str],
    *,
    wavs: Iterable[str] = (),
    subtitles: Lines = (),
    labels: Lines = (),
    candidates: Iterable[str] = (),
) -> Path:
    """Write stubs of the named recordings and the three tables around them."""
    for kind, names, suffix in (("video", videos, "mp4"), ("audio", wavs, "wav")):
        (folder / kind).mkdir(parents=True)
        for name in names:
            (folder / kind / f"{name}.{suffix}").write_bytes(f"{kind} of {name}".encode())
    write(folder / mer2025.SUBTITLES, ("name", "chinese", "english"), *subtitles)
    write(folder / mer2025.LABELS, ("name", "discrete", "valence"), *labels)
    write(folder / mer2025.CANDIDATES, ("name",), *((name,) for name in candidates))
    return folder


def clips(folder: Path) -> list[Clip]:
    return list(mer2025.Corpus().clips(folder))


# --- what is read -----------------------------------------------------------------------------


def test_labelled_clips_candidates_and_all_others_are_told_apart(tmp_path: Path) -> None:
    lay_out(tmp_path, "fabcde", labels=[("d", "sad", "-2.5"), ("b", "happy", "")], candidates="eac")
    found = clips(tmp_path)
    assert [(clip.clip_id, clip.split, clip.label, clip.valence) for clip in found] == [
        ("d", "train", "sad", "-2.5"),
        ("b", "train", "happy", ""),
        ("e", "candidate", "", ""),
        ("a", "candidate", "", ""),
        ("c", "candidate", "", ""),
        ("f", "unlabelled", "", ""),
    ]


def test_a_clip_is_read_in_full(tmp_path: Path) -> None:
    subtitles = [("s_1", "你好，", "Hello,")]
    lay_out(tmp_path, ["s_1"], wavs=["s_1"], subtitles=subtitles, labels=[("s_1", "worried", -1)])
    assert clips(tmp_path) == [
        Clip(
            clip_id="s_1",
            video="video/s_1.mp4",
            audio="audio/s_1.wav",
            transcript="你好，",
            language="zh",
            speaker="",
            group="s_1",
            split="train",
            label="worried",
            valence="-1",
        )
    ]


@pytest.mark.parametrize(
    ("subtitles", "transcript", "language"),
    [
        ([("a", "你好", "hello")], "你好", "zh"),
        ([("a", "", "hello")], "hello", "en"),
        ([("a", " ", "")], "", ""),
        ([], "", ""),
    ],
)
def test_a_transcript_is_chinese_or_else_english_or_else_empty(
    tmp_path: Path, subtitles: Lines, transcript: str, language: str
) -> None:
    (clip,) = clips(lay_out(tmp_path, "a", subtitles=subtitles))
    assert (clip.transcript, clip.language) == (transcript, language)


def test_classes_have_the_order_of_the_official_code_which_the_sample_shares() -> None:
    official = ["neutral", "angry", "happy", "sad", "worried", "surprise"]
    assert list(mer2025.Corpus.classes) == list(sample.Corpus.classes) == official


def test_more_columns_and_files_than_are_read_do_no_harm(tmp_path: Path) -> None:
    lay_out(tmp_path, "ab", candidates="b")
    write(tmp_path / mer2025.CANDIDATES, ("name", "discrete"), ("b", "neutral"))
    write(tmp_path / mer2025.LABELS, ("", "name", "discrete", "valence"), (0, "a", "sad", "1.0"))
    (tmp_path / "openface_face" / "a").mkdir(parents=True)
    (tmp_path / "video" / "._a.mp4").touch()
    (tmp_path / "video" / ".DS_Store").touch()
    a, b = clips(tmp_path)
    assert (a.label, b.split, b.label) == ("sad", "candidate", "")


def test_an_incomplete_corpus_is_read_with_a_warning_for_each_lack(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lay_out(tmp_path, "ab", wavs="bc", subtitles=[("a", "", ""), ("x", "", ""), ("y", "", "")])
    with caplog.at_level(logging.WARNING):
        assert [clip.clip_id for clip in clips(tmp_path)] == ["a", "b"]
    for warning in (
        "2 clips: this is only a part of MER2025",
        "1 clips without a wav",
        "2 subtitles without a video",
        "1 wavs without a video: left out",
    ):
        assert warning in caplog.text


def test_the_audio_is_the_wav_or_else_the_track_of_the_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real clips, from the official layout to decoded frames and audio."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECMF_WORKERS", "1")
    monkeypatch.setenv("ECMF_CACHE", str(tmp_path / "cache"))
    folder = lay_out(tmp_path / "mer2025", "", labels=[("with_wav", "sad", 0)])
    quiet, loud = tone(1.0) // 8, tone(1.0)
    for name in ("with_wav", "without"):
        film(folder / "video" / f"{name}.mp4", 25, sound=quiet[None])
    soundfile.write(folder / "audio" / "with_wav.wav", loud, 16_000)
    write_manifest(collect_clips("mer2025", folder), tmp_path / "mer2025.csv")
    decode_video(
        tmp_path / "mer2025.csv", tmp_path / "f.h5", tmp_path / "a.h5", DecodeVideo(frames=5)
    )
    with Store(tmp_path / "f.h5") as frames, Store(tmp_path / "a.h5") as sounds:
        for name in ("with_wav", "without"):
            pictures = [number_of(decode_jpeg(file)) for file in frames[name].values]
            assert pictures == [2, 7, 12, 17, 22]
        np.testing.assert_array_equal(sounds["with_wav"].values, loud)
        assert np.abs(sounds["without"].values).max() < np.abs(loud).max() / 4


# --- what is refused --------------------------------------------------------------------------

LABELLED = [("a", "sad", "1.5")]


@pytest.mark.parametrize(
    ("tables", "error"),
    [
        ({"labels": [("gone", "sad", 1)]}, r"track1.*'gone' has no video video/gone\.mp4"),
        ({"candidates": ["b", "gone"]}, r"track_all.*'gone' has no video video/gone\.mp4"),
        ({"labels": LABELLED, "candidates": "ba"}, "'a' is in track1_.* and in track_all_"),
        ({"labels": LABELLED * 2}, "track1_train_disdim.csv: 'a' appears 2 times"),
        ({"candidates": "aba"}, "track_all_candidates.csv: 'a' appears 2 times"),
        ({"subtitles": [("a", "", "x"), ("a", "", "y")]}, "subtitle_chieng.csv: 'a' appears 2"),
        ({"labels": [("a", "Sad", 1)]}, "unknown class 'Sad', the classes are .* mean 'sad'"),
        ({"labels": [("a", "", 1)]}, "unknown class ''"),
        ({"labels": [("a", "sad", "low")]}, "'a': valence 'low' is not a number"),
        ({"labels": [("a", "sad", "nan")]}, "'a': valence 'nan' is not a number"),
        ({"labels": [("a", "sad")]}, r"line 2 \('a'\) has 2 fields, the header 3"),
    ],
)
def test_tables_that_contradict_themselves_or_the_videos_are_refused(
    tmp_path: Path, tables: dict[str, Any], error: str
) -> None:
    with pytest.raises(CorpusError, match=error):
        clips(lay_out(tmp_path, "ab", **tables))


@pytest.mark.parametrize(("kind", "suffix"), [("video", "mp4"), ("audio", "wav")])
def test_two_recordings_of_one_name_are_refused(tmp_path: Path, kind: str, suffix: str) -> None:
    lay_out(tmp_path, "a", wavs="a")
    (tmp_path / kind / f"a.{suffix.upper()}").touch()
    with pytest.raises(CorpusError, match=f"'{kind}/a.{suffix}' duplicates '{kind}/a."):
        clips(tmp_path)


def test_all_errors_are_reported_at_once(tmp_path: Path) -> None:
    labels = [("a", "hapy", "x"), ("gone", "sad", 1), ("b", "sad", 1)]
    lay_out(tmp_path, "ab", labels=labels, candidates=["b", "b", "lost"])
    with pytest.raises(CorpusError, match="6 errors") as caught:
        clips(tmp_path)
    for error in ("'hapy'", "'x'", "'gone'", "'lost'", "'b' appears 2 times", "'b' is in"):
        assert error in str(caught.value)


def test_all_missing_files_are_named_at_once(tmp_path: Path) -> None:
    lay_out(tmp_path, "a")
    shutil.rmtree(tmp_path / "video")
    (tmp_path / mer2025.SUBTITLES).unlink()
    (tmp_path / mer2025.CANDIDATES).unlink()
    missing = "no video/, subtitle_chieng.csv, track_all_candidates.csv in"
    with pytest.raises(MissingFileError, match=missing):
        clips(tmp_path)


def test_missing_columns_of_all_tables_are_named_at_once(tmp_path: Path) -> None:
    lay_out(tmp_path, "a")
    write(tmp_path / mer2025.SUBTITLES, ("name", "english"))
    write(tmp_path / mer2025.LABELS, ("Name", "discrete", "valence"))
    (tmp_path / mer2025.CANDIDATES).write_bytes("näme\n".encode("latin-1"))
    with pytest.raises(CorpusError, match=r"(?s)no column chinese.*no column name.*not UTF-8"):
        clips(tmp_path)


def test_videos_a_folder_too_deep_are_refused(tmp_path: Path) -> None:
    lay_out(tmp_path, "", candidates="a")
    (tmp_path / "video" / "video").mkdir()
    (tmp_path / "video" / "video" / "a.mp4").touch()
    with pytest.raises(CorpusError, match=r"video holds no \.mp4: unpack"):
        clips(tmp_path)


# --- at its size ------------------------------------------------------------------------------


def test_twenty_thousand_clips_take_a_few_system_calls_per_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No duration: what made a large corpus slow was to follow every path link by link, twice."""
    names = [f"sample_{number:08d}" for number in range(20_000)]
    rng = np.random.default_rng(0)
    listed = rng.permutation(names).tolist()
    labels = [(name, "sad", 1) for name in listed[:1_000]]
    candidates = listed[1_000:4_000]
    folder = lay_out(
        tmp_path / "mer2025", names, wavs=names[:5_000], labels=labels, candidates=candidates
    )
    calls: Counter[str] = Counter()

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def count_and_call(*arguments: Any, **options: Any) -> Any:
            calls[name] += 1
            return call(*arguments, **options)

        return count_and_call

    with monkeypatch.context() as patch:
        for name in ("stat", "lstat", "readlink", "listdir", "scandir"):
            patch.setattr(os, name, counted(name, getattr(os, name)))
        found = collect_clips("mer2025", folder)
    assert 0 < calls.total() < 3 * 25_000

    manifest = tmp_path / "mer2025.csv"
    write_manifest(found, manifest)
    again = read_manifest(manifest)
    assert again == found
    assert Counter(clip.split for clip in again) == {
        "train": 1_000, "candidate": 3_000, "unlabelled": 16_000,
    }  # fmt: skip
    assert [clip.clip_id for clip in again if clip.split == "candidate"] == candidates
    assert len({clip.sha256 for clip in again}) == 20_000
    assert sum(bool(clip.audio) for clip in again) == 5_000


# --- nothing of it comes near git -------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the .gitignore of the project, and MER2025 where it may lie."""
    root = tmp_path / "project"
    lay_out(root / "data" / "raw" / "mer2025", "abc", labels=LABELLED, candidates="b")
    shutil.copyfile(ROOT / ".gitignore", root / ".gitignore")
    monkeypatch.chdir(root)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    subprocess.run(["git", "init", "--quiet"], check=True)
    return root


def index_by_hand(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run_ecmf("index", *arguments)


def untracked() -> list[str]:
    """List the files that `git add --all` would take."""
    command = ["git", "ls-files", "--others", "--exclude-standard"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def test_a_gated_manifest_is_written_where_git_does_not_look(project: Path) -> None:
    for name in ("mer2025", "mer2025-small"):
        done = index_by_hand("mer2025", "data/raw/mer2025", "--name", name)
        assert done.returncode == 0, done.stderr
        assert "candidate: 1 clips" in done.stdout
        assert "mer2025 is gated" in done.stdout
        fingerprint = f"data/manifests/{name}.csv.dvc"
        assert f"  dvc add data/manifests/{name}.csv\n  git add {fingerprint}\n" in done.stdout
        Path(fingerprint).touch()
    assert untracked() == [
        ".gitignore",
        "data/manifests/mer2025-small.csv.dvc",
        "data/manifests/mer2025.csv.dvc",
    ]


@pytest.mark.parametrize("name", ["mine", "my-mer2025", "MER2025"])
def test_a_gated_manifest_under_a_name_git_would_see_is_refused(project: Path, name: str) -> None:
    done = index_by_hand("mer2025", "data/raw/mer2025", "--name", name)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "mer2025 is gated" in done.stderr and "begins with mer2025" in done.stderr
    assert not Path("data/manifests").exists()


@pytest.mark.parametrize("place", ["mer2025", "data/manifests/mer2025"])
def test_gated_clips_where_git_would_see_them_are_refused(project: Path, place: str) -> None:
    Path(place).parent.mkdir(exist_ok=True)
    Path("data/raw/mer2025").rename(place)
    done = index_by_hand("mer2025", place)
    assert done.returncode == 1
    assert "git ignores only data/raw/: move the folder there" in done.stderr


def test_gated_clips_may_lie_outside_the_project(project: Path, tmp_path: Path) -> None:
    Path("data/raw/mer2025").rename(tmp_path / "elsewhere")
    done = index_by_hand("mer2025", tmp_path / "elsewhere")
    assert done.returncode == 0, done.stderr
    assert untracked() == [".gitignore"]


def test_a_corpus_that_is_not_gated_is_kept_in_git(project: Path) -> None:
    place = Path("data/raw/mine")
    place.mkdir()
    (place / "a.wav").write_bytes(b"sound")
    (place / "clips.csv").write_text("clip_id,audio,label\na,a.wav,sad\n")
    done = index_by_hand("folder", place, "--name", "mine")
    assert done.returncode == 0, done.stderr
    assert "gated" not in done.stdout
    assert "data/manifests/mine.csv" in untracked()


@pytest.mark.parametrize("corpus", GATED)
@pytest.mark.parametrize("end", ["", "-2", "_small"])
def test_git_ignores_the_manifests_of_every_gated_corpus(
    project: Path, corpus: str, end: str
) -> None:
    Path("data/manifests").mkdir()
    for suffix in (".csv", ".csv.dvc"):
        Path(f"data/manifests/{corpus}{end}{suffix}").touch()
    assert untracked() == [".gitignore", f"data/manifests/{corpus}{end}.csv.dvc"]


def test_dvc_keeps_the_manifest_that_git_may_not(project: Path) -> None:
    """DVC reads .gitignore its own way, and finds nothing below a folder it takes for ignored."""
    Path(".dvc").mkdir()
    for name in (".dvc/config", ".dvc/.gitignore"):
        shutil.copyfile(ROOT / name, name)
    assert index_by_hand("mer2025", "data/raw/mer2025").returncode == 0
    manifest = Path("data/manifests/mer2025.csv")
    content = manifest.read_bytes()
    dvc = Path(sys.executable).with_name("dvc")
    subprocess.run([dvc, "add", "--quiet", manifest], check=True)
    assert f"{manifest}.dvc" in untracked()
    manifest.unlink()
    subprocess.run([dvc, "checkout", "--quiet"], check=True)
    assert manifest.read_bytes() == content


def test_git_ignores_files_that_hold_labels(project: Path) -> None:
    written = ["data/labels.csv", "data/text.jsonl", "metrics/predictions.csv"]
    for name in written:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    assert untracked() == [".gitignore"]
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["evaluate_fusion"]
    assert "metrics/predictions.csv" in stage["outs"]  # and so in the cache of DVC


def test_a_folder_that_is_not_mer2025_is_refused_in_one_message(project: Path) -> None:
    with pytest.raises(UserError, match="must have MER2025's published layout"):
        collect_clips("mer2025", Path("data"))
