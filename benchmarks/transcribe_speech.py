"""Measure the word error rate of a transcriber on RAVDESS (English) and nEMO (Polish).

    pip install '.[test,test-whisper]'
    python benchmarks/transcribe_speech.py <RAVDESS> <nEMO> [clips of each, default 40]

Whisper base, float32, on clips drawn evenly from each corpus, once with the language of the
manifest and once detected. RAVDESS has two sentences, each spoken by every actor in every
emotion; nEMO has 90. The rate is substitutions, insertions and deletions over the words of the
truth, both without punctuation and in small letters; its interval is a bootstrap over speakers.
Then the invented words in 20 clips without speech: silence, noise, hum, tones, clicks. Exits with 1
if any is invented, or if more than a quarter of the words of RAVDESS are wrong.
"""

import csv
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from nltk.metrics.distance import edit_distance
from support.comparison import log
from support.whisper_base import write_model

from ecmf.data.corpus_index import collect_clips
from ecmf.data.manifest import Clip
from ecmf.data.transcripts import Transcript
from ecmf.decoding.clip_decoder import AUDIO
from ecmf.decoding.decode_recipe import decode_clips
from ecmf.media import SAMPLE_RATE, Samples
from ecmf.params import TranscribeSpeech, load_params
from ecmf.storage.files import sha256
from ecmf.storage.store import Rows
from ecmf.storage.store_writer import StoreWriter
from ecmf.transcription.clip_transcripts import transcribe_clips

SENTENCES = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}
"""Statements of RAVDESS by the fifth part of a clip's name."""

RESAMPLES = 1000


def words(text: str) -> list[str]:
    """Split a text into words in small letters, without punctuation."""
    return re.sub(r"[^\w\s']", " ", text.lower()).split()


def ravdess(folder: Path) -> tuple[list[Clip], Mapping[str, str]]:
    """Return the clips of RAVDESS and the sentence of each."""
    clips = collect_clips("ravdess", folder)
    return clips, {clip.clip_id: SENTENCES[clip.clip_id.split("-")[4]] for clip in clips}


def nemo(folder: Path) -> tuple[list[Clip], Mapping[str, str]]:
    """Return the clips of nEMO and the sentence of each, from its table."""
    with (folder / "nemo.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    clips = [
        Clip(row["clip_id"], audio=str(folder / row["audio"]), language=row["language"],
             speaker=row["speaker"], group=row["speaker"], split="unlabelled")
        for row in rows
    ]  # fmt: skip
    return clips, {row["clip_id"]: row["transcript"] for row in rows}


def transcribe(clips: Sequence[Clip], folder: Path, params: TranscribeSpeech) -> list[Transcript]:
    """Decode clips and transcribe them, whatever the manifest has of their words."""
    audio = folder / "audio.h5"
    without = [replace(clip, transcript="") for clip in clips]
    decode_clips(without, folder / "frames.h5", audio, load_params().decode_video)
    return transcribe_clips(without, audio, params)


def errors(records: Sequence[Transcript], truth: Mapping[str, str]) -> np.ndarray:
    """Count the wrong words, and the words of the truth, of each clip: (clips, 2)."""
    pairs = [(words(record.text), words(truth[record.clip_id])) for record in records]
    return np.array([(edit_distance(said, true), len(true)) for said, true in pairs])


def rate(counts: np.ndarray, speakers: Sequence[str]) -> tuple[float, float, float]:
    """Return the word error rate and its 95 % interval over speakers."""
    rng = np.random.default_rng(0)
    names = sorted(set(speakers))
    sums = np.array([counts[[name == s for s in speakers]].sum(axis=0) for name in names])
    drawn = sums[rng.integers(0, len(names), (RESAMPLES, len(names)))].sum(axis=1)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    return counts[:, 0].sum() / counts[:, 1].sum(), low, high


def without_speech() -> dict[str, Samples]:
    """Make clips of four seconds in which nothing is said."""
    rng = np.random.default_rng(0)
    time_ = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
    waves = {"silence": 0 * time_}
    for level in (0.001, 0.01, 0.1, 0.3):
        white = rng.normal(0, level / 3, len(time_))
        waves[f"white noise {level}"] = white
        waves[f"hum {level}"] = level * (np.sin(100 * np.pi * time_) + np.sin(200 * np.pi * time_))
        waves[f"tone {level}"] = level * np.sin(880 * np.pi * time_)
        waves[f"brown noise {level}"] = level * np.cumsum(white) / np.abs(np.cumsum(white)).max()
    for rate_ in (1, 5, 20):
        waves[f"{rate_} clicks a second"] = 0.5 * (rng.random(len(time_)) < rate_ / SAMPLE_RATE)
    return {name: (wave * 32767).clip(-32768, 32767).astype("int16")
            for name, wave in waves.items()}  # fmt: skip


def invented(folder: Path, params: TranscribeSpeech) -> list[Transcript]:
    """Return the records with words of clips without speech."""
    made = without_speech()
    with StoreWriter(folder / "made.h5", AUDIO, {}) as out:
        for name, samples in made.items():
            out.append(name, Rows(samples, np.empty(0)))
    records = transcribe_clips([Clip(name) for name in made], folder / "made.h5", params)
    return [record for record in records if record.text]


def main(ravdess_folder: str, nemo_folder: str, number: str = "40") -> int:
    """Print a line per corpus and way of knowing the language; see the module."""
    rates = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "whisper-base").mkdir()
        write_model(folder / "whisper-base")
        located = {
            "folder": str(folder / "whisper-base"),
            "sha256": sha256(folder / "whisper-base"),
        }

        def params(**options: object) -> TranscribeSpeech:
            return TranscribeSpeech.model_validate(
                {"transcriber": "faster_whisper",
                 "options": {"faster_whisper": {**located, **options}}}
            )  # fmt: skip

        for corpus, (clips, truth) in {
            "RAVDESS": ravdess(Path(ravdess_folder)), "nEMO": nemo(Path(nemo_folder)),
        }.items():  # fmt: skip
            picked = clips[:: max(1, len(clips) // int(number))][: int(number)]
            for language in ("given", "detected"):
                asked = [replace(clip, language="") for clip in picked]
                started = time.monotonic()
                records = transcribe(picked if language == "given" else asked, folder, params())
                seconds = time.monotonic() - started
                speakers = [clip.speaker for clip in picked]
                counts = errors(records, truth)
                rates[corpus, language], low, high = rate(counts, speakers)
                log.info(
                    "%s, language %s: WER %.3f (%.3f to %.3f), %d clips of %d speakers, %d words, "
                    "exact %d, empty %d; %s; %.1f s a clip",
                    corpus, language, rates[corpus, language], low, high, len(records),
                    len(set(speakers)), counts[:, 1].sum(), (counts[:, 0] == 0).sum(),
                    sum(not record.text for record in records),
                    sorted({record.language for record in records}), seconds / len(records),
                )  # fmt: skip
        for activity in (True, False):
            found = invented(folder, params(voice_activity=activity))
            log.info(
                "without speech, voice_activity %s: words in %d of %d clips %s", activity,
                len(found), len(without_speech()), [(r.clip_id, r.text) for r in found],
            )  # fmt: skip
            rates["invented", str(activity)] = float(len(found))
    wrong = rates["invented", "True"] + rates["invented", "False"]
    return int(bool(wrong) or rates["RAVDESS", "given"] > 0.25)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
