"""Derive cues from a lexicon of 7,500 rated words, without a model or internet access.

VADER (Hutto & Gilbert 2014) rates words and applies rules for negation, degree, capitals and
exclamation marks. It covers only English and polarity: fear, anger and grief are all negative.
"""

from collections.abc import Iterator, Sequence
from importlib.metadata import version

from pydantic import Field
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer, SentiText

from ecmf.config import Section
from ecmf.data.enriched_text import EnrichedText, compose
from ecmf.data.languages import is_unreadable
from ecmf.enrichment.base import EnrichmentInput
from ecmf.storage.store import State

LANGUAGES = ("en",)

RULES = "2"
"""Increment it with every change that affects the cues."""

NEUTRAL_BELOW = 0.05
"""VADER's threshold of the compound score below which a text is neutral."""

STRONG_FROM = 0.5
"""Our threshold: about the score of two charged words, or of an emphasised one."""


class Options(Section):
    """Options of the lexicon."""

    most_words: int = Field(4, ge=0, description="Maximum charged words in a cue.")


class Provider:
    """Provide the polarity of a text, its charged words and their emphasis.

    A text in another language than English, or without a known one in other than Latin letters, has
    only nonverbal cues, no polarity, and the state flagged. If its language is unknown, a text
    without a rated word has no polarity: it may be neutral, or not English.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._vader = SentimentIntensityAnalyzer()
        self.prompt_version = f"lexicon-{RULES}, vaderSentiment {version('vaderSentiment')}"

    def __call__(
        self, inputs: Sequence[EnrichmentInput], classes: Sequence[str]
    ) -> list[EnrichedText]:
        """Enrich each transcript independently; the records have no class probabilities."""
        return [self._enrich(clip) for clip in inputs]

    def _enrich(self, clip: EnrichmentInput) -> EnrichedText:
        text = clip.text
        state, reason = _state(clip)
        cues, polarity = self._analyse(text, clip.language) if state == "whole" else ([], None)
        return EnrichedText(
            clip_id=clip.clip_id,
            raw=text,
            enriched=compose(text, cues, clip.nonverbal_cues),
            context=clip.context,
            cues=tuple(cues),
            facts=clip.nonverbal_cues,
            polarity=polarity,
            provider="lexicon",
            prompt_version=self.prompt_version,
            state=state,
            reason=reason,
        )

    def _analyse(self, text: str, language: str) -> tuple[list[str], float | None]:
        charged = dict(self._charged_words(text))
        if not charged and not language:
            return list(_emphasis(text)), None
        polarity = float(self._vader.polarity_scores(text)["compound"])
        strongest = sorted(charged, key=lambda word: -abs(charged[word]))[
            : self._options.most_words
        ]
        words = ", ".join(word for word in charged if word in strongest)
        return [
            _polarity_in_words(polarity) + (f": {words}" if words else ""),
            *_emphasis(text),
        ], polarity

    def _charged_words(self, text: str) -> Iterator[tuple[str, float]]:
        """Yield the rated words, with "not" where negated, and their ratings in context."""
        sentence = SentiText(self._without_emojis(text))
        words = sentence.words_and_emoticons
        for i, word in enumerate(words):
            (rating,) = self._vader.sentiment_valence(0, sentence, word, i, [])
            if rating:
                negated = rating * self._vader.lexicon[word.lower()] < 0
                yield (f"not {word.lower()}" if negated else word.lower()), rating

    def _without_emojis(self, text: str) -> str:
        names = self._vader.emojis
        return "".join(f" {names[char]} " if char in names else char for char in text)


def _state(clip: EnrichmentInput) -> tuple[State, str]:
    if not clip.text.strip():
        return "empty", "no transcript"
    if is_unreadable(clip.text, clip.language, LANGUAGES):
        found = repr(clip.language) if clip.language else "these letters"
        return "flagged", f"the lexicon knows English only, not {found}: no cues"
    return "whole", ""


def _polarity_in_words(polarity: float) -> str:
    if abs(polarity) < NEUTRAL_BELOW:
        return "neutral words"
    strength = "strongly " if abs(polarity) >= STRONG_FROM else ""
    return f"{strength}{'positive' if polarity > 0 else 'negative'} words"


def _emphasis(text: str) -> Iterator[str]:
    if "!" in text:
        yield "exclaimed"
    if "?" in text:
        yield "asked"
    words = text.split()
    capitals = [word for word in words if word.isupper() and len(word) > 1]
    if capitals and not all(map(str.isupper, words)):
        yield "some words in capitals"
