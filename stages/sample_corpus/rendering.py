"""Render the planned clips; those of one actor are the unit of work of a process."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from ecmf.execution import process_pool
from ecmf.params import MakeSample, VoiceName
from sample_corpus.actors import sample_voice
from sample_corpus.animation import animate, mouth_opening
from sample_corpus.expression import sample_expression
from sample_corpus.plan import PlannedClip
from sample_corpus.prosody import sample_prosody
from sample_corpus.scene import Scene, add_camera_noise
from sample_corpus.seeding import Purpose, make_rng
from sample_corpus.speech import SYNTHESISERS, Waveform, make_utterance, render_voice
from sample_corpus.tables import video_name
from sample_corpus.video_file import write_video


@dataclass(frozen=True)
class RenderJob:
    """All clips of one actor, with the synthesiser, the output folder and the parameters."""

    clips: tuple[PlannedClip, ...]
    voice: VoiceName
    folder: Path
    params: MakeSample


def render_clips(
    clips: Sequence[PlannedClip], voice: VoiceName, folder: Path, params: MakeSample
) -> None:
    """Render all clips into `folder`, actor by actor in parallel processes."""
    jobs = [
        RenderJob(tuple(of_actor), voice, folder, params)
        for _, of_actor in groupby(clips, key=lambda clip: clip.actor)
    ]
    with tqdm(total=len(clips), desc="make_sample", unit="clip", disable=None) as progress:
        results = process_pool.run(render_actor, jobs, workers=process_pool.worker_count())
        for job, result in zip(jobs, results, strict=True):
            if isinstance(result, process_pool.Failure):
                raise RuntimeError(f"cannot render {job.clips[0].speaker}: {result.reason}")
            progress.update(result)


def render_actor(job: RenderJob) -> int:
    """Write the clips of one actor; return their number."""
    waveforms = _synthesise(job)
    with deterministic_opencv():
        scene = Scene(job.params.seed, job.clips[0].actor)
        for clip, waveform in zip(job.clips, waveforms, strict=True):
            _render_clip(clip, waveform, scene, job)
    return len(job.clips)


def _synthesise(job: RenderJob) -> list[Waveform]:
    params = job.params
    voice = sample_voice(params.seed, job.clips[0].actor)
    prosodies = [sample_prosody(c.voice, _rng(job, c, Purpose.PROSODY)) for c in job.clips]
    speech = SYNTHESISERS[job.voice](
        [
            make_utterance(clip.sentence, voice, prosody)
            for clip, prosody in zip(job.clips, prosodies, strict=True)
        ]
    )
    return [
        render_voice(raw, voice, prosody, params.shortest_seconds, _rng(job, clip, Purpose.SOUND))
        for clip, prosody, raw in zip(job.clips, prosodies, speech, strict=True)
    ]


def _render_clip(clip: PlannedClip, waveform: Waveform, scene: Scene, job: RenderJob) -> None:
    params = job.params
    face = sample_expression(clip.face, _rng(job, clip, Purpose.EXPRESSION))
    opening = mouth_opening(waveform, params.frames_per_second)
    poses = animate(face, opening, params.frames_per_second, _rng(job, clip, Purpose.MOTION))
    frames = (scene.render(None if clip.missing == "face" else pose) for pose in poses)
    write_video(
        job.folder / video_name(clip),
        add_camera_noise(frames, _rng(job, clip, Purpose.CAMERA)),
        None if clip.missing == "voice" else waveform,
        params.frames_per_second,
    )


def _rng(job: RenderJob, clip: PlannedClip, purpose: Purpose) -> np.random.Generator:
    return make_rng(job.params.seed, purpose, clip.actor, clip.number)


@contextmanager
def deterministic_opencv() -> Iterator[None]:
    """Run OpenCV in one thread and without IPP, so that every run gives the same bytes."""
    threads, use_ipp = cv2.getNumThreads(), cv2.ipp.useIPP()
    cv2.setNumThreads(1)
    cv2.ipp.setUseIPP(False)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
        cv2.ipp.setUseIPP(use_ipp)
