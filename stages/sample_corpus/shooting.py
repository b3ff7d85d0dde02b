"""One actor's clips, from plan to files: the unit of work of one process."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ecmf.params import MakeSample, VoiceName
from sample_corpus import expression, prosody
from sample_corpus.casting import voice_of
from sample_corpus.chance import Purpose, generator
from sample_corpus.expression import FACES
from sample_corpus.movie import write_movie
from sample_corpus.performance import lips, perform
from sample_corpus.plan import PlannedClip
from sample_corpus.scene import Scene, filmed
from sample_corpus.speech import VOICES, Waveform, recorded, utterance
from sample_corpus.tables import video_name


@dataclass(frozen=True)
class ShootingDay:
    """All clips of one actor, the voice to speak with, and where the files go."""

    clips: tuple[PlannedClip, ...]
    voice: VoiceName
    folder: Path
    params: MakeSample


def shoot(day: ShootingDay) -> int:
    """Make the clips of one actor; returns how many."""
    sounds = _sounds(day)
    with plain_opencv():
        scene = Scene(day.params.seed, day.clips[0].actor)
        for clip, sound in zip(day.clips, sounds, strict=True):
            _film(clip, sound, scene, day)
    return len(day.clips)


def _sounds(day: ShootingDay) -> list[Waveform]:
    params = day.params
    voice = voice_of(params.seed, day.clips[0].actor)
    manners = [
        prosody.played(
            clip.voice.mixed(prosody.VOICES), params.weakest, _chance(day, clip, Purpose.PROSODY)
        )
        for clip in day.clips
    ]
    spoken = VOICES[day.voice](
        [
            utterance(clip.sentence, voice, manner)
            for clip, manner in zip(day.clips, manners, strict=True)
        ]
    )
    return [
        recorded(bare, voice, manner, params.shortest_seconds, _chance(day, clip, Purpose.SOUND))
        for clip, manner, bare in zip(day.clips, manners, spoken, strict=True)
    ]


def _film(clip: PlannedClip, sound: Waveform, scene: Scene, day: ShootingDay) -> None:
    params = day.params
    face = expression.played(
        clip.face.mixed(FACES), params.weakest, _chance(day, clip, Purpose.EXPRESSION)
    )
    opening = lips(sound, params.frames_per_second)
    poses = perform(face, opening, params.frames_per_second, _chance(day, clip, Purpose.MOTION))
    absent = clip.missing == "face"
    pictures = (scene.picture(None if absent else pose) for pose in poses)
    write_movie(
        day.folder / video_name(clip),
        filmed(pictures, _chance(day, clip, Purpose.CAMERA)),
        None if clip.missing == "voice" else sound,
        params.frames_per_second,
    )


def _chance(day: ShootingDay, clip: PlannedClip, purpose: Purpose) -> np.random.Generator:
    return generator(day.params.seed, purpose, clip.actor, clip.number)


@contextmanager
def plain_opencv() -> Iterator[None]:
    """One thread and no processor-specific library: OpenCV then gives the same bytes every time."""
    threads, vendor = cv2.getNumThreads(), cv2.ipp.useIPP()
    cv2.setNumThreads(1)
    cv2.ipp.setUseIPP(False)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
        cv2.ipp.setUseIPP(vendor)
