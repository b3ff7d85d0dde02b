"""Which clips there are: actor, split, emotion, how it shows, sentence, labels, what is missing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ecmf.data.manifest import Split
from ecmf.params import MakeSample
from sample_corpus.chance import Purpose, generator
from sample_corpus.emotions import EMOTIONS, Modality, Shown, other_emotion, random_emotion
from sample_corpus.sentences import sentence

Missing = Literal["", "face", "voice", "transcript"]
MISSING: tuple[Missing, ...] = ("face", "voice", "transcript")
SPLITS_OF_THE_MISSING: tuple[Split, ...] = ("train", "val", "test")
LABELLED: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class PlannedClip:
    """All that is decided about a clip before it is made.

    `actor` and `number`, the clips of an actor, count from 1. `emotion` is the truth; `label` and
    `annotators` are what people say it is, and empty in an unlabelled clip. `sentence` is spoken
    even where the transcript is missing.
    """

    clip_id: str
    actor: int
    number: int
    split: Split
    emotion: str
    face: Shown
    voice: Shown
    text: Shown
    sentence: str
    label: str = ""
    annotators: tuple[str, ...] = ()
    missing: Missing = ""

    @property
    def speaker(self) -> str:
        """The actor's name."""
        return f"actor_{self.actor:02d}"


def plan(params: MakeSample) -> list[PlannedClip]:
    """Plan every clip of the corpus, actor by actor."""
    clips = list(_clips(params))
    clips = _with_labels(clips, params)
    return _with_missing(clips, params)


def _clips(params: MakeSample) -> Iterator[PlannedClip]:
    casts: list[tuple[Split, int, int]] = [
        ("train", params.train_actors, params.clips_per_actor),
        ("val", params.val_actors, params.clips_per_actor),
        ("test", params.test_actors, params.clips_per_actor),
        ("unlabelled", params.unlabelled_actors, params.clips_per_unlabelled_actor),
    ]
    actor = made = 0
    for split, actors, clips in casts:
        for cast in range(actors):
            actor += 1
            # each actor goes on where the one before stopped, so that a split is balanced as well
            turn = [EMOTIONS[(cast * clips + number) % len(EMOTIONS)] for number in range(clips)]
            generator(params.seed, Purpose.EMOTIONS, actor).shuffle(turn)
            for number, emotion in enumerate(turn, start=1):
                made += 1
                yield _clip(f"clip_{made:04d}", actor, number, split, emotion, params)


def _clip(
    clip_id: str, actor: int, number: int, split: Split, emotion: str, params: MakeSample
) -> PlannedClip:
    def chance(purpose: Purpose) -> np.random.Generator:
        return generator(params.seed, purpose, actor, number)

    def shown(modality: Modality, most: float, random: np.random.Generator) -> Shown:
        own = random_emotion(random) if random.random() < params.off_key else emotion
        return Shown(modality, own, random.uniform(0, most))

    text_chance = chance(Purpose.TEXT_SHOWN)
    text = shown(Modality.TEXT, 0, text_chance)
    plain = bool(text_chance.random() < params.plain_sentences)
    return PlannedClip(
        clip_id=clip_id,
        actor=actor,
        number=number,
        split=split,
        emotion=emotion,
        face=shown(Modality.FACE, params.face_blend, chance(Purpose.FACE_SHOWN)),
        voice=shown(Modality.VOICE, params.voice_blend, chance(Purpose.VOICE_SHOWN)),
        text=replace(text, blend=0.0 if plain else 0.5),  # a shared sentence fits both as well
        sentence=sentence(text.emotion, plain, text_chance),
    )


def _with_labels(clips: Sequence[PlannedClip], params: MakeSample) -> list[PlannedClip]:
    """Labels and annotators, with exactly the set share of errors in each split.

    Only training labels are wrong: what is scored is scored against the truth. All errors are
    independent of each other and as likely to be any of the five other emotions.
    """
    labels, annotators = {}, {}
    for number, split in enumerate(LABELLED):
        of_split = [clip for clip in clips if clip.split == split]
        error = params.wrong_labels if split == "train" else 0.0
        chance = generator(params.seed, Purpose.WRONG_LABELS, clip=number)
        labels.update(_answers(of_split, error, chance))
        chance = generator(params.seed, Purpose.ANNOTATORS, clip=number)
        votes = [_answers(of_split, error, chance) for error in params.annotator_errors]
        annotators.update(
            {clip.clip_id: tuple(v[clip.clip_id] for v in votes) for clip in of_split}
        )
    silent = ("",) * len(params.annotator_errors)
    return [
        replace(
            clip,
            label=labels.get(clip.clip_id, ""),
            annotators=annotators.get(clip.clip_id, silent),
        )
        for clip in clips
    ]


def _answers(
    clips: Sequence[PlannedClip], error: float, random: np.random.Generator
) -> dict[str, str]:
    """What somebody who errs in a share `error` of the clips says of each of them."""
    wrong = set(random.permutation(len(clips))[: round(error * len(clips))].tolist())
    return {
        clip.clip_id: other_emotion(clip.emotion, random) if index in wrong else clip.emotion
        for index, clip in enumerate(clips)
    }


def _with_missing(clips: Sequence[PlannedClip], params: MakeSample) -> list[PlannedClip]:
    """Take the face, the voice or the transcript from a few clips, never two from one clip."""
    random = generator(params.seed, Purpose.MISSING)
    order = [clips[index] for index in random.permutation(len(clips))]
    missing: dict[str, Missing] = {}
    for turn in range(params.missing_of_each):
        split = SPLITS_OF_THE_MISSING[turn] if turn < len(SPLITS_OF_THE_MISSING) else "train"
        free = (c.clip_id for c in order if c.split == split and c.clip_id not in missing)
        for what, clip_id in zip(MISSING, list(free), strict=False):
            missing[clip_id] = what
    return [replace(clip, missing=missing.get(clip.clip_id, "")) for clip in clips]
