"""Plan the clips: actor, split, emotion, its expression, sentence, labels, missing part."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ecmf.data.manifest import Split
from ecmf.params import MakeSample
from sample_corpus.emotions import (
    EMOTIONS,
    RANDOM_EMOTION,
    EmotionBlend,
    Modality,
    other_emotion,
    random_emotion,
)
from sample_corpus.seeding import Purpose, make_rng
from sample_corpus.sentences import make_sentence

Missing = Literal["", "face", "voice", "transcript"]
MISSING: tuple[Missing, ...] = ("face", "voice", "transcript")
LABELLED: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class PlannedClip:
    """Everything about a clip that is decided before it is rendered.

    `actor`, and `number` (of the actor's clip), count from 1. `emotion` is the true class; `label`
    and `annotators` simulate human labels with errors, and are empty if unlabelled. `sentence` is
    spoken even if the transcript is missing.
    """

    clip_id: str
    actor: int
    number: int
    split: Split
    emotion: str
    face: EmotionBlend
    voice: EmotionBlend
    text: EmotionBlend
    sentence: str
    label: str = ""
    annotators: tuple[str, ...] = ()
    missing: Missing = ""

    @property
    def speaker(self) -> str:
        """The actor's name."""
        return f"actor_{self.actor:02d}"


def plan_clips(params: MakeSample) -> list[PlannedClip]:
    """Plan every clip of the corpus, actor by actor."""
    clips = list(_clips(params))
    clips = _with_labels(clips, params)
    return _with_missing(clips, params)


def _clips(params: MakeSample) -> Iterator[PlannedClip]:
    groups: list[tuple[Split, int, int]] = [
        ("train", params.train_actors, params.clips_per_actor),
        ("val", params.val_actors, params.clips_per_actor),
        ("test", params.test_actors, params.clips_per_actor),
        ("unlabelled", params.unlabelled_actors, params.clips_per_unlabelled_actor),
    ]
    actor = count = 0
    for split, actors, clips in groups:
        for index in range(actors):
            actor += 1
            # each actor continues the previous actor's cycle of emotions, to balance the split
            first = index * clips
            emotions = [EMOTIONS[n % len(EMOTIONS)] for n in range(first, first + clips)]
            make_rng(params.seed, Purpose.EMOTIONS, actor).shuffle(emotions)
            for number, emotion in enumerate(emotions, start=1):
                count += 1
                yield _clip(f"clip_{count:04d}", actor, number, split, emotion, params)


def _clip(
    clip_id: str, actor: int, number: int, split: Split, emotion: str, params: MakeSample
) -> PlannedClip:
    def rng_for(purpose: Purpose) -> np.random.Generator:
        return make_rng(params.seed, purpose, actor, number)

    def blend(modality: Modality, maximum: float, rng: np.random.Generator) -> EmotionBlend:
        own = random_emotion(rng) if rng.random() < RANDOM_EMOTION else emotion
        return EmotionBlend(modality, own, rng.uniform(0, maximum))

    text_rng = rng_for(Purpose.TEXT_EMOTION)
    text = blend(Modality.TEXT, 0, text_rng)
    plain = bool(text_rng.random() < params.plain_sentences)
    return PlannedClip(
        clip_id=clip_id,
        actor=actor,
        number=number,
        split=split,
        emotion=emotion,
        face=blend(Modality.FACE, params.face_blend, rng_for(Purpose.FACE_EMOTION)),
        voice=blend(Modality.VOICE, params.voice_blend, rng_for(Purpose.VOICE_EMOTION)),
        text=replace(text, blend=0.0 if plain else 0.5),  # a shared sentence fits both emotions
        sentence=make_sentence(text.emotion, plain, text_rng),
    )


def _with_labels(clips: Sequence[PlannedClip], params: MakeSample) -> list[PlannedClip]:
    """Add labels and annotators, with exactly the configured fraction of errors in each split.

    Only training labels have errors, so that scores are computed against the truth. Annotators err
    in all splits. All errors are independent, and uniform over the five other emotions.
    """
    labels, annotators = {}, {}
    for number, split in enumerate(LABELLED):
        of_split = [clip for clip in clips if clip.split == split]
        error = params.label_noise if split == "train" else 0.0
        rng = make_rng(params.seed, Purpose.LABEL_NOISE, clip=number)
        labels.update(_noisy_labels(of_split, error, rng))
        rng = make_rng(params.seed, Purpose.ANNOTATORS, clip=number)
        votes = [_noisy_labels(of_split, error, rng) for error in params.annotator_errors]
        annotators.update(
            {clip.clip_id: tuple(v[clip.clip_id] for v in votes) for clip in of_split}
        )
    no_votes = ("",) * len(params.annotator_errors)
    return [
        replace(
            clip,
            label=labels.get(clip.clip_id, ""),
            annotators=annotators.get(clip.clip_id, no_votes),
        )
        for clip in clips
    ]


def _noisy_labels(
    clips: Sequence[PlannedClip], error: float, rng: np.random.Generator
) -> dict[str, str]:
    """Return a label per clip id, wrong for the fraction `error` of the clips."""
    wrong = set(rng.permutation(len(clips))[: round(error * len(clips))].tolist())
    return {
        clip.clip_id: other_emotion(clip.emotion, rng) if index in wrong else clip.emotion
        for index, clip in enumerate(clips)
    }


def _with_missing(clips: Sequence[PlannedClip], params: MakeSample) -> list[PlannedClip]:
    """Remove the face, the voice or the transcript from some clips, never two from one clip."""
    rng = make_rng(params.seed, Purpose.MISSING)
    order = [clips[index] for index in rng.permutation(len(clips))]
    missing: dict[str, Missing] = {}
    for index in range(params.missing_of_each):
        split = LABELLED[index] if index < len(LABELLED) else "train"
        free = (c.clip_id for c in order if c.split == split and c.clip_id not in missing)
        for part, clip_id in zip(MISSING, list(free), strict=False):
            missing[clip_id] = part
    return [replace(clip, missing=missing.get(clip.clip_id, "")) for clip in clips]
