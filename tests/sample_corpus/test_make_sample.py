import csv
import hashlib
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, combinations
from pathlib import Path
from typing import NamedTuple

import av
import librosa
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from ecmf import registry
from ecmf.data.manifest import read_manifest
from ecmf.media import SAMPLE_RATE
from ecmf.params import CropFaces, MakeSample
from make_sample import make_sample
from sample_corpus import espeak, speech, video_file
from sample_corpus.actors import sample_looks
from sample_corpus.emotions import ALIKE, EMOTIONS, Modality
from sample_corpus.espeak import Utterance
from sample_corpus.plan import PlannedClip, plan_clips
from sample_corpus.scene import HEIGHT, WIDTH

SMALL = MakeSample(
    voice="babble",
    train_actors=3,
    val_actors=1,
    test_actors=1,
    unlabelled_actors=1,
    clips_per_actor=2,
    clips_per_unlabelled_actor=2,
    missing_of_each=1,
)
TINY = SMALL.model_copy(
    update={
        "train_actors": 1,
        "unlabelled_actors": 0,
        "clips_per_actor": 1,
        "missing_of_each": 0,
    }
)
LABELLED = ("train", "val", "test")

Synthesise = Callable[[Sequence[Utterance]], list[speech.Waveform]]


class Corpus(NamedTuple):
    folder: Path
    manifest: Path
    truth: Path

    def digests(self) -> dict[str, str]:
        files = [*self.folder.iterdir(), self.truth]
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}

    def rows(self) -> dict[str, dict[str, str]]:
        return {row["clip_id"]: row for row in read(self.folder / "clips.csv")}


class Video(NamedTuple):
    frames: NDArray[np.uint8]
    frames_per_second: float
    audio: NDArray[np.float32] | None
    codecs: tuple[str, ...]


def read(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def generate(folder: Path, params: MakeSample, workers: int) -> Corpus:
    corpus = Corpus(folder / "sample", folder / "manifests" / "sample.csv", folder / "truth.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECMF_WORKERS", str(workers))
        make_sample(*corpus, params)
    return corpus


def decode(path: Path) -> Video:
    with av.open(path) as container:
        codecs = tuple(stream.codec_context.name for stream in container.streams)
        rate = float(container.streams.video[0].average_rate)
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    audio = None
    if len(codecs) > 1:
        with av.open(path) as container:
            audio = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    return Video(np.stack(frames), rate, audio, codecs)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return generate(tmp_path_factory.mktemp("small"), SMALL, workers=1)


@pytest.fixture(scope="session")
def videos(small: Corpus) -> dict[str, Video]:
    return {path.stem: decode(path) for path in sorted(small.folder.glob("*.mp4"))}


@pytest.fixture(scope="module")
def clips() -> list[PlannedClip]:
    return plan_clips(MakeSample())


def test_the_same_seed_gives_the_same_bytes_for_any_number_of_workers(
    small: Corpus, tmp_path: Path
) -> None:
    assert generate(tmp_path, SMALL, workers=2).digests() == small.digests()


def test_another_seed_gives_other_bytes_of_every_file(tmp_path: Path) -> None:
    first = generate(tmp_path / "one", TINY, workers=1).digests()
    second = generate(tmp_path / "other", TINY.model_copy(update={"seed": 8}), workers=1).digests()
    assert first.keys() == second.keys()
    assert not set(first.values()) & set(second.values())


def test_clips_of_an_earlier_run_are_removed(tmp_path: Path) -> None:
    stale = tmp_path / "sample" / "clip_9999.mp4"
    stale.parent.mkdir()
    stale.touch()
    assert (
        len(generate(tmp_path, TINY, workers=1).rows())
        == len(list(stale.parent.glob("*.mp4")))
        == 3
    )


def test_an_interrupted_clip_leaves_no_file(tmp_path: Path) -> None:
    def interrupted() -> Iterator[NDArray[np.uint8]]:
        yield np.zeros((HEIGHT * 3 // 2, WIDTH), dtype=np.uint8)
        raise InterruptedError("in the middle of a clip")

    with pytest.raises(InterruptedError, match="in the middle"):
        video_file.write_video(tmp_path / "clip.mp4", interrupted(), None, 10)
    assert list(tmp_path.iterdir()) == []


def test_clips_are_h264_and_aac_of_two_seconds_or_more(
    small: Corpus, videos: dict[str, Video]
) -> None:
    rows = {row["clip_id"]: row for row in read(small.truth)}
    for clip_id, clip in videos.items():
        silent = rows[clip_id]["missing"] == "voice"
        assert clip.codecs == (("h264",) if silent else ("h264", "aac"))
        assert clip.frames.shape[1:] == (HEIGHT, WIDTH, 3)
        assert clip.frames_per_second == SMALL.frames_per_second
        assert len(clip.frames) >= SMALL.shortest_seconds * SMALL.frames_per_second


def test_the_manifest_is_the_table_of_the_folder_with_hashes(small: Corpus) -> None:
    listed = read_manifest(small.manifest)
    assert [clip.clip_id for clip in listed] == list(small.rows())
    assert all(clip.sha256 and Path(clip.video).is_file() for clip in listed)


def test_splits_have_no_actor_in_common(clips: list[PlannedClip]) -> None:
    actors: dict[str, set[str]] = {}
    for clip in clips:
        actors.setdefault(clip.split, set()).add(clip.speaker)
    assert {split: len(names) for split, names in actors.items()} == {
        "train": 16,
        "val": 4,
        "test": 10,
        "unlabelled": 8,
    }
    assert all(not one & other for one, other in combinations(actors.values(), 2))


def test_every_split_has_as_many_clips_of_each_emotion(clips: list[PlannedClip]) -> None:
    counts = Counter((clip.split, clip.emotion) for clip in clips)
    each = {"train": 40, "val": 10, "test": 25, "unlabelled": 8}
    assert counts == {(split, e): number for split, number in each.items() for e in EMOTIONS}
    per_actor = Counter((clip.speaker, clip.emotion) for clip in clips if clip.label)
    assert set(per_actor.values()) == {2, 3}


def test_the_configured_fraction_of_training_labels_is_wrong_and_no_other(
    clips: list[PlannedClip],
) -> None:
    wrong = Counter(clip.split for clip in clips if clip.label and clip.label != clip.emotion)
    assert wrong == {"train": round(0.20 * 240)}
    assert {clip.label for clip in clips if clip.split == "unlabelled"} == {""}


@pytest.mark.parametrize(("annotator", "error"), list(enumerate(MakeSample().annotator_errors)))
@pytest.mark.parametrize("split", LABELLED)
def test_annotators_err_as_often_as_configured(
    clips: list[PlannedClip], split: str, annotator: int, error: float
) -> None:
    errors = [clip.annotators[annotator] != clip.emotion for clip in clips if clip.split == split]
    assert sum(errors) == round(error * len(errors))


def test_annotators_err_independently_of_each_other_and_of_the_label() -> None:
    many = plan_clips(MakeSample(train_actors=200))
    wrong = np.array(
        [
            [label != clip.emotion for label in (clip.label, *clip.annotators)]
            for clip in many
            if clip.split == "train"
        ]
    )
    correlation = np.corrcoef(wrong, rowvar=False) - np.eye(4)
    assert np.abs(correlation).max() < 4 / np.sqrt(len(wrong))  # four standard errors


def test_the_public_tables_do_not_hold_the_truth(small: Corpus) -> None:
    annotators = ["annotator_1", "annotator_2", "annotator_3"]
    columns = ["clip_id", "video", "transcript", "language", "speaker", "group", "split", "label"]
    assert list(next(iter(small.rows().values()))) == columns + annotators
    assert small.truth.parent != small.folder
    assert not {"emotion", "label_is_wrong"} & set(read(small.manifest)[0])


def test_the_truth_names_the_emotion_of_each_modality_and_the_synthesiser(small: Corpus) -> None:
    planned = {clip.clip_id: clip for clip in plan_clips(SMALL)}
    for row in read(small.truth):
        clip = planned[row["clip_id"]]
        assert row["emotion"] == clip.emotion
        assert (row["label_is_wrong"] == "yes") == bool(clip.label and clip.label != clip.emotion)
        assert row["face_emotion"] == clip.face.emotion
        assert float(row["voice_blend"]) == pytest.approx(clip.voice.blend, abs=1e-4)
        assert row["voice"] == "babble"


def test_clips_with_a_missing_part_are_spread_over_the_splits(clips: list[PlannedClip]) -> None:
    missing = Counter((clip.missing, clip.split) for clip in clips if clip.missing)
    parts = ("face", "voice", "transcript")
    assert missing == {(part, split): 1 for part in parts for split in LABELLED}
    more = plan_clips(MakeSample(missing_of_each=5))
    assert Counter(clip.split for clip in more if clip.missing == "face")["train"] == 3


def test_a_clip_lacks_the_part_named_in_the_truth_and_nothing_else(
    small: Corpus, videos: dict[str, Video]
) -> None:
    chosen = CropFaces().detector
    detector = registry.build("detectors", "Detector", chosen, {})
    rows = small.rows()
    for row in read(small.truth):
        clip = videos[row["clip_id"]]
        frames = clip.frames[[2, len(clip.frames) // 2, -3]]
        faces = [len(detector(frame, detector.default_confidence)) for frame in frames]
        assert faces == [0 if row["missing"] == "face" else 1] * len(frames)
        assert (clip.audio is None) == (row["missing"] == "voice")
        assert (rows[row["clip_id"]]["transcript"] == "") == (row["missing"] == "transcript")


def test_lips_follow_the_voice(videos: dict[str, Video]) -> None:
    correlations = []
    for clip in plan_clips(SMALL):
        video = videos[clip.clip_id]
        if clip.missing != "face" and video.audio is not None:
            loudness, opening = _loudness(video), _mouth_contrast(video, clip.actor)
            correlations.append(np.corrcoef(loudness, opening)[0, 1])
    assert np.mean(correlations) > 0.6


def _loudness(video: Video) -> NDArray[np.float64]:
    """Root mean square of the audio of each frame."""
    samples = SAMPLE_RATE // SMALL.frames_per_second
    assert video.audio is not None
    audio = np.resize(video.audio.astype(np.float64), len(video.frames) * samples)
    loudness: NDArray[np.float64] = np.sqrt(np.mean(audio.reshape(-1, samples) ** 2, axis=1))
    return loudness


def _mouth_contrast(video: Video, actor: int) -> NDArray[np.float64]:
    """Standard deviation of brightness around the mouth in each frame, high when it is open."""
    looks = sample_looks(SMALL.seed, actor)
    x = round(WIDTH / 2 + looks.offset_x)
    y = round(HEIGHT / 2 + looks.offset_y + looks.scale * (looks.mouth_line + 16))
    mouth = video.frames[:, y - 14 : y + 14, x - 12 : x + 12].mean(axis=-1)
    contrast: NDArray[np.float64] = mouth.std(axis=(1, 2))
    return contrast


def test_without_espeak_the_actors_babble_and_a_warning_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(espeak, "is_installed", lambda: False)
    with caplog.at_level(logging.WARNING):
        assert speech.resolve_voice("espeak") == "babble"
    assert "espeak is not installed" in caplog.text


def test_babbling_never_loads_espeak(small: Corpus) -> None:
    assert len(list(small.folder.glob("*.mp4"))) == 12
    assert "espeakng_loader" not in sys.modules


@pytest.fixture(params=["babble", "espeak"])
def synthesise(request: pytest.FixtureRequest) -> Synthesise:
    if request.param == "espeak" and not espeak.is_installed():
        pytest.skip("the extra sample-voice is not installed")
    return speech.SYNTHESISERS[request.param]


def test_a_sentence_sounds_the_same_after_any_other_sentence(synthesise: Synthesise) -> None:
    sentence = Utterance("I miss my brother so much.", "m3", pitch=30, pitch_range=20, rate=140)
    other = Utterance("Wow, I never saw that ring before.", "f2", 90, 99, 220)
    alone, after = synthesise([sentence])[0], synthesise([other, sentence])[1]
    np.testing.assert_array_equal(alone, after)
    assert np.abs(alone).max() > 0.05


def test_rate_and_pitch_change_the_voice(synthesise: Synthesise) -> None:
    text = "The letter is on the table."
    slow, fast = synthesise([Utterance(text, "m1", 40, 50, rate) for rate in (120, 220)])
    assert len(slow) > 1.3 * len(fast)
    low, high = synthesise([Utterance(text, "m1", pitch, 20, 170) for pitch in (20, 80)])
    assert _pitch(high) > 1.3 * _pitch(low)


def _pitch(waveform: NDArray[np.float32]) -> float:
    """Median pitch in Hz."""
    return float(np.median(librosa.yin(waveform, fmin=60, fmax=500, sr=SAMPLE_RATE)))


def test_any_two_modalities_distinguish_all_emotions_and_one_does_not() -> None:
    for one, other in combinations(EMOTIONS, 2):
        confused = [m for m in Modality if (one, other) in ALIKE[m] or (other, one) in ALIKE[m]]
        assert len(confused) <= 1
    assert all(sorted(chain(*pairs)) == sorted(EMOTIONS) for pairs in ALIKE.values())


def test_more_missing_parts_than_clips_are_refused() -> None:
    with pytest.raises(ValidationError, match="lower it"):
        MakeSample(train_actors=1, clips_per_actor=3, missing_of_each=2)
