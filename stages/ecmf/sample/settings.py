"""What can be chosen about the sample corpus."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ecmf.section import Section

Share = Annotated[float, Field(ge=0, le=1)]
VoiceName = Literal["espeak", "babble"]


class MakeSample(Section):
    """The sample corpus: who plays, how much, how ambiguous, and what is wrong with it.

    Attributes:
        seed: everything random follows from it.
        voice: `espeak` speaks words and needs the extra `sample-voice` (GPL-3); `babble` is speech-
            like sound made here. Without the extra `espeak` falls back to `babble`, with a warning.
        frames_per_second: of the video.
        shortest_seconds: a shorter clip is filled up with silence at its end.
        train_actors, val_actors, test_actors: people per split; no actor is in two splits.
        unlabelled_actors: people of the unlabelled split, whom no other split knows.
        clips_per_actor: of a labelled actor; a multiple of 3 balances the emotions of two actors.
        clips_per_unlabelled_actor: of an unlabelled one.
        wrong_labels: share of the training labels that are wrong.
        annotator_errors: share of errors of each annotator, independent of each other and of the
            given label.
        missing_of_each: clips without a face, as many without a voice, as many without a
            transcript. Of each kind the first is in training, the second in validation, the third
            in test, and all further ones in training.
        face_blend, voice_blend: how far, at most, a face or a voice moves to the emotion it is
            mixed up with: at 0 it is never ambiguous, at 1 it can be entirely the other one.
        plain_sentences: share of sentences that only one emotion says.
        off_key: chance that a modality shows an emotion picked at random.
        weakest: intensity of the faintest face and voice; the strongest has 1.1.
    """

    seed: int = Field(default=7, ge=0)
    voice: VoiceName = "espeak"
    frames_per_second: int = Field(default=10, ge=5, le=30)
    shortest_seconds: float = Field(default=2.0, ge=1, le=10)
    train_actors: int = Field(default=16, ge=1, le=500)
    val_actors: int = Field(default=4, ge=1, le=500)
    test_actors: int = Field(default=4, ge=1, le=500)
    unlabelled_actors: int = Field(default=8, ge=0, le=500)
    clips_per_actor: int = Field(default=15, ge=1, le=1000)
    clips_per_unlabelled_actor: int = Field(default=6, ge=1, le=1000)
    wrong_labels: Share = 0.20
    annotator_errors: tuple[Share, ...] = (0.15, 0.25, 0.35)
    missing_of_each: int = Field(default=3, ge=0, le=1000)
    face_blend: Share = 0.72
    voice_blend: Share = 0.58
    plain_sentences: Share = 0.35
    off_key: Share = 0.05
    weakest: float = Field(default=0.75, ge=0.1, le=1.1)

    @model_validator(mode="after")
    def _room_for_the_missing(self) -> Self:
        train = self.train_actors * self.clips_per_actor
        held_out = min(self.val_actors, self.test_actors) * self.clips_per_actor
        if 3 * self.missing_of_each > train or (self.missing_of_each > 1 and held_out < 3):
            raise ValueError(
                f"missing_of_each is {self.missing_of_each}, for a face, a voice and a transcript "
                f"each, too many for {train} training and {held_out} validation or test clips: "
                "lower it"
            )
        return self
