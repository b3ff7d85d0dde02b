"""Words that nobody said are left out, with the reason; what was said is kept."""

import pytest

from ecmf.data.transcripts import Word
from ecmf.transcription.base import Recognition, Segment
from ecmf.transcription.hallucinations import checked_transcript


def segment(text, *, seconds=3.0, no_speech=0.1, log_probability=-0.3, start=0.0):
    word = Word(text=text.strip(), start=start, end=start + seconds)
    return Segment(
        text=text, start=start, end=start + seconds, words=(word,),
        no_speech_probability=no_speech, log_probability=log_probability,
    )  # fmt: skip


def checked(*segments, **recognition):
    return checked_transcript(Recognition(segments=segments, **recognition))


@pytest.mark.parametrize(
    ("text", "no_speech", "log_probability"),
    [
        (" you", 0.757, -1.08),  # Whisper base, of digital silence
        (" I'm going to put it on the side.", 0.777, -1.65),  # of white noise
        (" I'm going to use the same method as the first one.", 0.768, -1.89),  # of clicks
    ],
)
def test_what_whisper_hears_in_silence_and_noise_is_left_out(text, no_speech, log_probability):
    fields = checked(segment(text, no_speech=no_speech, log_probability=log_probability))
    assert (fields["text"], fields["state"]) == ("", "empty")
    assert "words" not in fields
    assert fields["reason"] == f"no speech: the probability of no speech is {no_speech:.2f}"


@pytest.mark.parametrize(
    ("no_speech", "log_probability"), [(0.208, -0.5), (0.179, -0.75), (0.7, -0.2), (None, None)]
)
def test_a_sentence_that_was_said_is_kept_whole(no_speech, log_probability):
    said = segment(
        " Kids are talking by the door.", no_speech=no_speech, log_probability=log_probability
    )
    fields = checked(said, language="en", language_probability=0.95)
    assert fields["text"] == "Kids are talking by the door."
    assert fields["words"] == said.words
    assert (fields["language"], fields["language_probability"]) == ("en", 0.95)
    assert "state" not in fields


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (" you" * 60, "compression ratio"),
        (" So let us go home now. So let us go home now, so let us go home now. So let us go home "
         "now.", r"a repeated phrase ('so let us go home now'"),
        (" 字幕由志愿者制作的。" * 4, "repeated words"),
    ],
)  # fmt: skip
def test_endless_repetition_is_left_out(text, reason):
    fields = checked(segment(text, seconds=20))
    assert (fields["text"], fields["state"]) == ("", "empty")
    assert reason.lower() in fields["reason"].lower()


def test_repetition_is_found_across_segments():
    parts = [segment(" Thank you very much.", start=3.0 * i) for i in range(4)]
    assert checked(*parts)["state"] == "empty"


@pytest.mark.parametrize(
    "text",
    [
        " No, no, no, no, no!",
        " I love you. I love you! I love you.",
        " Ha ha ha ha ha ha.",
        " 不要不要不要!",
    ],
)
def test_how_upset_people_repeat_themselves_is_kept(text):
    assert checked(segment(text))["text"] == text.strip()


def test_more_words_than_anyone_speaks_in_the_time_are_left_out():
    fields = checked(segment(" Thank you for watching this video.", seconds=0.4))
    assert fields["reason"] == "no speech: 34 characters in 0.40 s"


def test_of_several_segments_only_the_invented_one_is_left_out_and_the_clip_is_flagged():
    said = segment(" It is you and me.", start=0.0)
    invented = segment(" you", start=4.0, no_speech=0.9, log_probability=-1.2)
    fields = checked(said, invented)
    assert fields["text"] == "It is you and me."
    assert [word.start for word in fields["words"]] == [0.0]
    assert fields["state"] == "flagged"
    assert fields["reason"] == "left out: the probability of no speech is 0.90"


def test_improbable_words_are_kept_and_flagged():
    fields = checked(segment(" Oh my God.", log_probability=-1.4))
    assert fields["text"] == "Oh my God."
    assert (fields["state"], fields["reason"]) == (
        "flagged", "improbable words (log-probability -1.40)",
    )  # fmt: skip


def test_silence_and_no_words_are_two_reasons():
    assert checked(silence="silence")["reason"] == "no speech: silence"
    assert checked()["reason"] == "no speech was recognised"
    assert checked(segment("  "))["reason"] == "no speech was recognised"
