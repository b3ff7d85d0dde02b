import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from filming import cut, film, number_of, tone
from tables import read_table

from decode_video import decode_video
from ecmf.data.manifest import Clip, write_manifest
from ecmf.errors import ErrorBudgetError
from ecmf.params import DecodeVideo, load_params
from ecmf.storage.files import sha256
from ecmf.storage.jpeg import decode_jpeg
from ecmf.storage.store import Store


@pytest.fixture(autouse=True)
def two_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECMF_WORKERS", "2")


ROOT = Path(__file__).resolve().parents[2]


def clip(path: Path, audio: str = "") -> Clip:
    return Clip(path.stem, str(path), audio, split="unlabelled", sha256=sha256(path))


def run(folder: Path, clips: Sequence[Clip], params: DecodeVideo) -> tuple[Path, Path]:
    write_manifest(clips, folder / "mine.csv")
    frames, audio = folder / "data" / "frames.h5", folder / "data" / "audio.h5"
    decode_video(folder / "mine.csv", frames, audio, params)
    return frames, audio


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    """A clip with audio, one without, one of audio alone, and a truncated one."""
    audio = np.stack([tone(1.2), tone(1.2)])
    soundfile.write(tmp_path / "c.wav", tone(0.5), 16_000)
    return [
        clip(film(tmp_path / "b.mp4", 30, sound=audio)),
        clip(film(tmp_path / "a.mkv", 20)),
        clip(tmp_path / "c.wav"),
        clip(cut(film(tmp_path / "whole.mp4", 60), tmp_path / "d.mp4")),
    ]


def test_two_runs_at_once_on_one_cache_write_what_one_alone_writes(
    tmp_path: Path, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As two experiments do that run side by side."""
    monkeypatch.setenv("ECMF_CACHE", str(tmp_path / "alone"))
    alone = run(
        tmp_path,
        clips,
        load_params(ROOT / "params.yaml").decode_video.model_copy(update={"error_budget": 0.5}),
    )
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["decode_video"]["error_budget"] = 0.5
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    environment = {**os.environ, "ECMF_CACHE": str(tmp_path / "shared"), "ECMF_WORKERS": "1"}
    stores = [[tmp_path / f"{kind}_{n}.h5" for kind in ("frames", "audio")] for n in range(2)]
    command = [sys.executable, str(ROOT / "stages/decode_video.py"), "mine.csv"]
    runs = [
        subprocess.Popen(
            [*command, *map(str, paths)], cwd=tmp_path, env=environment,
            stderr=subprocess.PIPE, text=True,
        )
        for paths in stores
    ]  # fmt: skip
    for each in runs:
        _, log = each.communicate()
        assert each.returncode == 0, log
    for paths in stores:
        assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in alone]


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_both_stores_hold_every_clip_in_the_order_of_the_manifest(
    tmp_path: Path, clips: list[Clip], decoder: str
) -> None:
    frames, audio = run(tmp_path, clips, DecodeVideo(decoder=decoder, frames=5))
    with Store(frames) as frame_store, Store(audio) as audio_store:
        assert list(frame_store) == list(audio_store) == ["b", "a", "c", "d"]
        assert [frame_store.state(name)[0] for name in "bacd"] == [
            "whole",
            "whole",
            "empty",
            "flagged",
        ]
        assert [audio_store.state(name)[0] for name in "bacd"] == [
            "whole",
            "empty",
            "whole",
            "empty",
        ]
        rows = frame_store["b"]
        assert [number_of(decode_jpeg(file)) for file in rows.values] == [3, 9, 15, 21, 27]
        assert rows.times == pytest.approx(np.array([3, 9, 15, 21, 27]) / 25)
        assert rows.facts["claimed_frames"] == rows.facts["decoded_frames"] == 30
        assert np.isnan(frame_store["c"].facts["claimed_frames"])
        np.testing.assert_array_equal(audio_store["c"].values, tone(0.5))
        assert audio_store.layout.rate == 16_000
        assert frame_store.provenance["decoder"] == decoder
        assert {"frames", "longest_side", "jpeg_quality", "opencv"} <= set(frame_store.provenance)


def test_the_same_clips_give_the_same_bytes_for_any_number_of_workers(
    tmp_path: Path, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = []
    for count in ("1", "3"):
        monkeypatch.setenv("ECMF_WORKERS", count)
        contents.append([path.read_bytes() for path in run(tmp_path, clips, DecodeVideo())])
    assert contents[0] == contents[1]


def test_the_audio_store_does_not_depend_on_the_parameters_of_the_frames(
    tmp_path: Path, clips: list[Clip]
) -> None:
    _, audio = run(tmp_path, clips[:1], DecodeVideo())
    before = audio.read_bytes()
    _, audio = run(tmp_path, clips[:1], DecodeVideo(decoder="pyav", frames=4, jpeg_quality=60))
    assert audio.read_bytes() == before


def test_quality_and_size_of_the_frames_are_parameters(tmp_path: Path, clips: list[Clip]) -> None:
    sizes = []
    for quality in (40, 95):
        frames, _ = run(tmp_path, clips[:1], DecodeVideo(jpeg_quality=quality, longest_side=100))
        with Store(frames) as frame_store:
            files = frame_store["b"].values
            assert decode_jpeg(files[0]).shape == (75, 100, 3)
            sizes.append(sum(map(len, files)))
    assert sizes[0] < sizes[1]


def test_failed_and_flagged_clips_within_the_budget_are_recorded_and_logged(
    tmp_path: Path, clips: list[Clip], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "e.mp4").write_text("no video")
    with caplog.at_level(logging.WARNING):
        frames, audio = run(
            tmp_path, [*clips, clip(tmp_path / "e.mp4")], DecodeVideo(error_budget=0.2)
        )
    with Store(frames) as frame_store, Store(audio) as audio_store:
        state, reason = frame_store.state("e")
        assert state == "failed"
        assert "e.mp4: not a media file" in reason
        assert audio_store.state("e") == (state, reason)
        assert len(frame_store["e"].values) == 0
    assert f"failed: e: {reason}" in caplog.text
    assert "flagged: d: frames: truncated or damaged: claims 60 frames / 2.40 s, " in caplog.text


def test_too_many_failed_clips_stop_the_stage_after_all_were_tried(
    tmp_path: Path, clips: list[Clip]
) -> None:
    for name in ("e.mp4", "f.mp4"):
        (tmp_path / name).touch()
    bad = [clip(tmp_path / "e.mp4"), *clips, clip(tmp_path / "f.mp4")]
    with pytest.raises(ErrorBudgetError, match="2 of 6 clips failed") as caught:
        run(tmp_path, bad, DecodeVideo())
    reason = f"e: {tmp_path}/e.mp4: the file is empty (0 bytes) (2 clips of this kind, also f)"
    assert reason in str(caught.value)
    (listing,) = (tmp_path / "data").iterdir()
    assert str(listing) in str(caught.value)
    failed = {row["clip_id"]: row["reason"] for row in read_table(listing)}
    assert failed == {n: f"{tmp_path}/{n}.mp4: the file is empty (0 bytes)" for n in "ef"}


def test_a_clip_that_changed_since_it_was_indexed_fails(tmp_path: Path, clips: list[Clip]) -> None:
    (tmp_path / "c.wav").write_bytes((tmp_path / "c.wav").read_bytes() + b"more")
    frames, _ = run(tmp_path, clips, DecodeVideo(error_budget=0.25))
    with Store(frames) as frame_store:
        assert frame_store.state("c")[1].startswith("changed since it was indexed: its sha256 is ")


def test_a_clip_that_takes_too_long_fails_and_the_run_goes_on(
    tmp_path: Path, clips: list[Clip]
) -> None:
    params = DecodeVideo(seconds_per_clip=1e-4, error_budget=1)
    frames, audio = run(tmp_path, clips[:2], params)
    with Store(frames) as frame_store, Store(audio) as audio_store:
        for name in "ba":
            assert frame_store.state(name) == ("failed", "took longer than 0.0001 s")
            assert audio_store.state(name) == ("failed", "took longer than 0.0001 s")


def test_a_separate_audio_file_is_the_audio_of_the_clip(tmp_path: Path) -> None:
    video = film(tmp_path / "a.mp4", 10, sound=np.stack([tone(0.4), tone(0.4)]))
    soundfile.write(tmp_path / "a.wav", tone(0.3), 16_000)
    both = Clip("a", str(video), str(tmp_path / "a.wav"), split="unlabelled")
    _, audio = run(tmp_path, [both], DecodeVideo())
    with Store(audio) as audio_store:
        np.testing.assert_array_equal(audio_store["a"].values, tone(0.3))


def test_real_clips_go_through(tmp_path: Path, shared: Path) -> None:
    videos = sorted((shared / "data/ravdess_av").glob("*.mp4"))
    recording = sorted((shared / "data/ravdess").rglob("*.flac"))[0]
    frames, audio = run(tmp_path, [clip(path) for path in (*videos, recording)], DecodeVideo())
    with Store(frames) as frame_store, Store(audio) as audio_store:
        assert [len(rows.values) for rows in frame_store.values()] == [16, 16, 16, 0]
        assert [bool(len(rows.values)) for rows in audio_store.values()] == [
            True,
            True,
            False,
            True,
        ]


def test_a_second_run_decodes_nothing_and_gives_the_same_bytes(
    tmp_path: Path, clips: list[Clip], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stores = run(tmp_path, clips[1:], DecodeVideo(frames=3))
    before = [store.read_bytes() for store in stores]
    assert "3 clips, 0 cached, 3 to compute" in caplog.text
    stores = run(tmp_path, clips[1:], DecodeVideo(frames=3))
    assert "3 clips, 3 cached, 0 to compute" in caplog.text
    assert [store.read_bytes() for store in stores] == before
    run(tmp_path, clips, DecodeVideo(frames=3))
    assert "4 clips, 3 cached, 1 to compute" in caplog.text


def test_a_failed_clip_is_tried_again(tmp_path: Path, clips: list[Clip]) -> None:
    slow = DecodeVideo(seconds_per_clip=1e-4, error_budget=1)
    with Store(run(tmp_path, clips[:1], slow)[0]) as frame_store:
        assert frame_store.state("b")[0] == "failed"
    with Store(run(tmp_path, clips[:1], DecodeVideo(error_budget=0))[0]) as frame_store:
        assert frame_store.state("b")[0] == "whole"


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_an_experiment_decodes_files_of_the_project_to_the_same_bytes(
    tmp_path: Path, clips: list[Clip], monkeypatch: pytest.MonkeyPatch, decoder: str
) -> None:
    params = DecodeVideo(decoder=decoder, error_budget=1)
    copy = tmp_path / ".dvc/tmp/exps/tmp1234"
    copy.mkdir(parents=True)
    (tmp_path / "e.mp4").touch()
    listed = [clips[0], clips[3], clip(tmp_path / "e.mp4"), Clip("f", "f.mp4", sha256="0" * 64)]
    listed = [
        replace(clip, video=Path(clip.video).name, audio="c.wav", sha256="", split="unlabelled")
        for clip in listed
    ]
    contents = []
    for place in (tmp_path, copy):
        monkeypatch.chdir(place)
        monkeypatch.setenv("ECMF_CACHE", str(place / "cache"))
        contents.append([path.read_bytes() for path in run(place, listed, params)])
    assert contents[0] == contents[1]
    with Store(copy / "data/frames.h5") as frame_store:
        assert [frame_store.state(name) for name in "bef"] == [
            ("whole", ""),
            ("failed", "e.mp4: the file is empty (0 bytes)"),
            ("failed", "f.mp4: there is no such file"),
        ]
