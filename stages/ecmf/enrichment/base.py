"""What every provider of emotional cues promises, whether it is a lexicon or a language model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ecmf.data.enriched_text import EnrichedText, Line


@dataclass(frozen=True)
class Transcript:
    """What is said in one clip, its language if it is known, and measured facts in words.

    `context` holds the lines that were said before it in its dialogue, the latest last.
    """

    clip_id: str
    text: str
    language: str = ""
    facts: tuple[str, ...] = ()
    context: tuple[Line, ...] = ()


class Provider(Protocol):
    """Transcripts in, one record per transcript out, in their order.

    A record carries the transcript, its context and its facts unchanged; `enrichment.compose` makes
    its enriched text. Probabilities are of the classes that are given. A clip the provider cannot
    answer for is a record of state failed with its reason, never a missing one. The provider knows
    no label and batches, repeats and waits as it sees fit.

    `prompt_version` changes with every change of the prompt, or of the rules, that changes answers.
    """

    prompt_version: str

    def __call__(
        self, transcripts: Sequence[Transcript], classes: Sequence[str]
    ) -> list[EnrichedText]:
        """Enrich the transcripts of a corpus of these classes."""
        ...
