"""Cues from a lexicon of 7,500 rated words: no model, no network, the same answer every time.

VADER (Hutto & Gilbert 2014) rates words and weighs negation, degree, capitals and exclamation marks
by rule. It knows English only, and polarity only: fear, anger and grief are all negative to it.
"""

from collections.abc import Iterator, Sequence
from importlib.metadata import version

from pydantic import Field
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer, SentiText

from ecmf.config import Section
from ecmf.data.enriched_text import EnrichedText, compose
from ecmf.enrichment.base import Transcript
from ecmf.storage.store import State

RULES = "1"
"""Raised with every change of what this file says of a text."""

NEUTRAL_BELOW = 0.05
"""The authors' bound on the compound score, below which a text is neutral."""

STRONG_FROM = 0.5
"""Ours: about what two charged words, or one with emphasis, score."""


class Options(Section):
    """`most_words`: how many charged words are named, the strongest of them."""

    most_words: int = Field(4, ge=0)


class Provider:
    """Adds the polarity of the words, the charged words themselves, and how they were stressed.

    A text in another language than English gets no cue, no polarity and the state flagged; facts
    are added all the same. Where the manifest names no language, a text without any known word has
    no polarity: it might be neutral, or not English.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._vader = SentimentIntensityAnalyzer()
        self.prompt_version = f"lexicon-{RULES}, vaderSentiment {version('vaderSentiment')}"

    def __call__(
        self, transcripts: Sequence[Transcript], classes: Sequence[str]
    ) -> list[EnrichedText]:
        """Enrich each transcript on its own; it has no opinion on classes."""
        return [self._enriched(transcript) for transcript in transcripts]

    def _enriched(self, transcript: Transcript) -> EnrichedText:
        text = transcript.text
        state, reason = _state(transcript)
        cues, polarity = self._read(text, transcript.language) if state == "whole" else ([], None)
        return EnrichedText(
            clip_id=transcript.clip_id,
            raw=text,
            enriched=compose(text, cues, transcript.facts),
            context=transcript.context,
            cues=tuple(cues),
            facts=transcript.facts,
            polarity=polarity,
            provider="lexicon",
            prompt_version=self.prompt_version,
            state=state,
            reason=reason,
        )

    def _read(self, text: str, language: str) -> tuple[list[str], float | None]:
        charged = dict(self._charged(text))
        if not charged and not language:
            return list(_stress(text)), None
        polarity = float(self._vader.polarity_scores(text)["compound"])
        strongest = sorted(charged, key=lambda word: -abs(charged[word]))[
            : self._options.most_words
        ]
        words = ", ".join(word for word in charged if word in strongest)
        return [
            _polarity_in_words(polarity) + (f": {words}" if words else ""),
            *_stress(text),
        ], polarity

    def _charged(self, text: str) -> Iterator[tuple[str, float]]:
        """Yield the rated words and their ratings in their place, "not" added where turned."""
        sentence = SentiText(self._without_emojis(text))
        words = sentence.words_and_emoticons
        for i, word in enumerate(words):
            (rating,) = self._vader.sentiment_valence(0, sentence, word, i, [])
            if rating:
                turned = rating * self._vader.lexicon[word.lower()] < 0
                yield (f"not {word.lower()}" if turned else word.lower()), rating

    def _without_emojis(self, text: str) -> str:
        names = self._vader.emojis
        return "".join(f" {names[sign]} " if sign in names else sign for sign in text)


def _state(transcript: Transcript) -> tuple[State, str]:
    if not transcript.text.strip():
        return "empty", "no transcript"
    if transcript.language.lower().replace("_", "-").split("-")[0] not in (
        "",
        "en",
        "eng",
        "english",
    ):
        return "flagged", f"the lexicon knows English only, not {transcript.language!r}: no cues"
    return "whole", ""


def _polarity_in_words(polarity: float) -> str:
    if abs(polarity) < NEUTRAL_BELOW:
        return "neutral words"
    strength = "strongly " if abs(polarity) >= STRONG_FROM else ""
    return f"{strength}{'positive' if polarity > 0 else 'negative'} words"


def _stress(text: str) -> Iterator[str]:
    if "!" in text:
        yield "exclaimed"
    if "?" in text:
        yield "asked"
    words = text.split()
    capitals = [word for word in words if word.isupper() and len(word) > 1]
    if capitals and not all(map(str.isupper, words)):  # else the transcript knows no small letters
        yield "some words in capitals"
