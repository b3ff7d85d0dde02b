from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import soxr
from filming import FRAMES_PER_SECOND, film, numbered

from ecmf.cli.cut import cut_folder
from ecmf.data.manifest import read_manifest
from ecmf.decoding.clip_decoder import ClipDecoder
from ecmf.errors import CorpusError
from ecmf.params import DecodeVideo

pytest.importorskip("silero_vad", reason="the extra `cut` is not installed")
pytest.importorskip("scenedetect", reason="the extra `cut` is not installed")

PAUSE = 0.9
LENGTHS = {"shortest": 0.5, "longest": 15.0, "silence": 0.3, "padding": 0.0}
BORDER = 0.2
"""Seconds by which a border may miss the speech, as its energy shows it."""


def joined_film(path: Path, sounds: list[Path]) -> list[tuple[float, float]]:
    """Join spoken clips with pauses between, one shot each; return where their speech is."""
    rate, rng = 16_000, np.random.default_rng(0)
    parts, images, spoken, length = [], [], [], 0
    for number, sound in enumerate(sounds):
        voice, _ = librosa.effects.trim(soxr.resample(*soundfile.read(sound), rate), top_db=30)
        pause = np.zeros(int(PAUSE / 2 * rate), "float32")
        parts += [pause, voice, pause]
        begin = length + len(pause)
        spoken.append((begin / rate, (begin + len(voice)) / rate))
        length += len(voice) + 2 * len(pause)
        shown = round(length / rate * FRAMES_PER_SECOND) - len(images)
        images += [numbered(number * 37 % 256, 160, 120)] * shown
    waveform = np.concatenate(parts) + rng.normal(0, 1e-4, length)
    sound = (0.8 * 32_767 * waveform / np.abs(waveform).max()).astype("int16")
    film(path, images=images, sound=sound[None])
    return spoken


def test_a_film_of_joined_clips_is_cut_into_them(
    tmp_path: Path,
    shared: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = tmp_path / "data/raw/talks"
    folder.mkdir(parents=True)
    spoken = joined_film(folder / "f.mp4", sorted((shared / "data/ravdess").rglob("*.flac"))[:6])
    voice = sorted((shared / "data/ravdess").rglob("*.flac"))[7]
    (folder / "voice.flac").write_bytes(voice.read_bytes())
    (folder / "notes.txt").write_text("no film")
    monkeypatch.chdir(tmp_path)
    summary = cut_folder(folder, "talks", **LENGTHS)
    assert "7 utterances" in summary
    assert "left out: notes.txt: not a media file" in caplog.text
    *clips, alone = read_manifest(Path("data/manifests/talks.csv"))
    assert (alone.video, Path(alone.audio).name) == ("", "voice.flac")
    found = [(float(clip.start), float(clip.end)) for clip in clips]
    np.testing.assert_allclose(found, spoken, atol=BORDER)
    assert {clip.group for clip in clips} == {"f.mp4"}
    piece = ClipDecoder(DecodeVideo())(clips[2])
    assert (piece.frames.state, piece.audio.state) == ("whole", "whole")
    with pytest.raises(CorpusError, match=r"clips.csv exists, maybe with labels"):
        cut_folder(folder, "talks", **LENGTHS)
