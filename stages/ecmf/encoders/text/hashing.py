"""Hash the words and letters of a text: no weights, no vocabulary, any language.

The features capture spelling, not meaning: two texts are close only if they share words or parts of
words.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, model_validator
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.preprocessing import normalize

from ecmf.config import Section
from ecmf.encoding.base import has_visible_character
from ecmf.media import Features, Text


class Options(Section):
    """Width of a row and lengths of the n-grams."""

    dim: int = Field(256, ge=2, description="Width of a row: half for words, half for letters.")
    max_words: int = Field(2, ge=1, description="Longest n-gram of words; the shortest is 1.")
    min_letters: int = Field(3, ge=1, description="Shortest n-gram of letters.")
    max_letters: int = Field(5, ge=1, description="Longest n-gram of letters.")

    @model_validator(mode="after")
    def _ordered(self) -> "Options":
        if self.dim % 2:
            raise ValueError(f"dim is halved between words and letters, so {self.dim} must be even")
        if self.min_letters > self.max_letters:
            raise ValueError("min_letters is greater than max_letters")
        return self


class Encoder:
    """Encode each text as one row of length 1: n-grams of words, and of letters within words."""

    reads_media: ClassVar[bool] = True

    def __init__(self, options: Options) -> None:
        self.dim = options.dim
        half = options.dim // 2
        letters = (options.min_letters, options.max_letters)
        self._vectorizers = (
            # A word is any run of letters or digits: the default drops "I", and Chinese characters.
            HashingVectorizer(
                n_features=half,
                ngram_range=(1, options.max_words),
                token_pattern=r"(?u)\w+",  # noqa: S106 (no password)
            ),
            HashingVectorizer(n_features=half, analyzer="char_wb", ngram_range=letters),
        )
        self.provenance: Mapping[str, Any] = {"scikit-learn": version("scikit-learn")}

    def __call__(self, clips: Sequence[Text]) -> list[Features]:
        """Hash each text; a text without any visible character has no row."""
        return [self._encode(clip.text) for clip in clips]

    def _encode(self, text: str) -> Features:
        if not has_visible_character(text):
            return Features(np.empty((0, self.dim), "float32"), np.empty(0))
        halves = [vectorizer.transform([text]).toarray() for vectorizer in self._vectorizers]
        return Features(normalize(np.hstack(halves)).astype("float32"), np.zeros(1))
