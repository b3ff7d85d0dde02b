"""Find cells in which a program wrote a word for an empty cell, such as pandas' `nan`."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ecmf.data.manifest import Clip

EMPTY_WORDS = frozenset(
    ("nan", "NaN", "NAN", "None", "NA", "N/A", "n/a", "#N/A", "<NA>", "null", "NULL", "NaT")
)
"""Words that programs write for an empty cell."""

CHECKED = ("label", "speaker", "group", "dialogue", "language")
"""Columns in which such a word would become a class, a speaker, a group, …"""

log = logging.getLogger(__name__)


def empty_word_errors(clip: Clip) -> Iterator[str]:
    """Yield an error for each cell of a clip that would become a class or a group."""
    cells = {**{name: getattr(clip, name) for name in CHECKED}, **clip.annotators}
    for column, cell in cells.items():
        if cell in EMPTY_WORDS:
            yield (
                f"clip {clip.clip_id!r}: {column} is {cell!r}, as programs write an empty cell: "
                "leave it empty, or give it another name if it is meant"
            )


def without_empty_words(clips: Sequence[Clip], folder: Path) -> list[Clip]:
    """Empty the transcripts that are such a word, with a warning."""
    words = Counter(clip.transcript for clip in clips if clip.transcript in EMPTY_WORDS)
    if words:
        log.warning(
            "%s: %d transcripts are %s, as programs write an empty cell: read as empty. A clip in "
            "which the word is spoken needs a full stop behind it",
            folder, words.total(), " or ".join(repr(word) for word in words),
        )  # fmt: skip
    return [
        replace(clip, transcript="") if clip.transcript in EMPTY_WORDS else clip for clip in clips
    ]
