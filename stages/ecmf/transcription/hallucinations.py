"""Reject words that a model invented, and say why.

Whisper writes sentences for silence, noise and music, and repeats a phrase without end. The limits
of the first two checks are those of its own decoder (Radford et al., "Robust speech recognition via
large-scale weak supervision", ICML 2023, section 4.5), where a rejected segment is decoded again;
here it is left out. Measured with Whisper base: on noise, hum, tones and clicks the probability of
no speech is 0.72 to 0.80 and the log-probability -1.9 to -1.1; on RAVDESS below 0.21 and above
-0.8.
"""

import re
import zlib
from typing import Any

from ecmf.transcription.base import Recognition, Segment

NO_SPEECH_ABOVE = 0.6
"""Probability of no speech above which a segment is not speech, unless its words are probable."""

PROBABLE_ABOVE = -0.5
"""Log-probability above which words are believed although the model hears no speech. Whisper's own
limit is -1, which lets its usual inventions pass ("you" for silence has -1.08)."""

DOUBTED_BELOW = -1.0
"""Log-probability below which words are kept, but the transcript is flagged."""

MAX_COMPRESSION = 2.4
"""Ratio of the bytes of a text to those of its zlib compression, above which it repeats itself."""

MAX_CHARACTERS_PER_SECOND = 35.0
"""Fast speakers reach 25 letters per second; a language written in syllables or words has fewer."""

REPEATED_PHRASE = re.compile(r"(\S.{9,200}?)(?:[\s,.!?;]*\1){3,}", re.DOTALL | re.IGNORECASE)
"""A phrase of ten or more characters, four or more times in succession. A shorter one, or fewer,
is how people speak when they are upset."""


def checked_transcript(recognition: Recognition) -> dict[str, Any]:
    """Return the fields of a transcript that come from a recognition: words believed, and why not.

    The text of all segments is checked once more as a whole, for repetitions across them.
    """
    fields: dict[str, Any] = {
        "language": recognition.language,
        "language_probability": recognition.language_probability,
    }
    said = [segment for segment in recognition.segments if segment.text.strip()]
    reasons = [why_invented(segment) for segment in said]
    kept = [segment for segment, reason in zip(said, reasons, strict=True) if not reason]
    rejected = dict.fromkeys(filter(None, reasons))
    text = "".join(segment.text for segment in kept).strip()
    if repetition := why_repeated(text):
        kept, text, rejected = [], "", {**rejected, repetition: None}
    if not kept:
        cause = recognition.silence or "; ".join(rejected)
        reason = f"no speech: {cause}" if cause else "no speech was recognised"
        return {**fields, "text": "", "state": "empty", "reason": reason}
    fields |= {"text": text, "words": tuple(word for segment in kept for word in segment.words)}
    doubts = [f"left out: {reason}" for reason in rejected]
    doubts += [
        f"improbable words (log-probability {segment.log_probability:.2f})"
        for segment in kept
        if segment.log_probability is not None and segment.log_probability < DOUBTED_BELOW
    ]
    if doubts:
        fields |= {"state": "flagged", "reason": "; ".join(dict.fromkeys(doubts))}
    return fields


def why_invented(segment: Segment) -> str:
    """Return why the words of a segment are not believed, or ""."""
    no_speech, probability = segment.no_speech_probability, segment.log_probability
    if (
        no_speech is not None
        and no_speech > NO_SPEECH_ABOVE
        and (probability is None or probability < PROBABLE_ABOVE)
    ):
        return f"the probability of no speech is {no_speech:.2f}"
    seconds = segment.end - segment.start
    if len(segment.text.strip()) > MAX_CHARACTERS_PER_SECOND * max(seconds, 0.1):
        return f"{len(segment.text.strip())} characters in {seconds:.2f} s"
    return why_repeated(segment.text)


def why_repeated(text: str) -> str:
    """Return in which way a text repeats itself as no speaker does, or ""."""
    content = text.strip().encode()
    ratio = len(content) / len(zlib.compress(content))
    if ratio > MAX_COMPRESSION:
        return f"repeated words (compression ratio {ratio:.1f})"
    if found := REPEATED_PHRASE.search(text):
        return f"a repeated phrase ({found[1].strip()[:40]!r})"
    return ""
