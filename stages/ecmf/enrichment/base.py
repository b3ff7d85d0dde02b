"""Define the interface of a provider of emotional cues: a lexicon or a language model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ecmf.data.enriched_text import EnrichedText, Utterance


@dataclass(frozen=True)
class EnrichmentInput:
    """Transcript of one clip, its language if known, and its nonverbal cues in words.

    `context` holds the preceding utterances of its dialogue, the latest last.
    """

    clip_id: str
    text: str
    language: str = ""
    nonverbal_cues: tuple[str, ...] = ()
    context: tuple[Utterance, ...] = ()


class Provider(Protocol):
    """Enrich transcripts, without access to labels.

    Each record has the transcript, the context and the nonverbal cues unchanged; its enriched text
    is computed by `enriched_text.compose`, and its probabilities are those of `classes`. The record
    of a clip that cannot be enriched has state failed and a reason. Batching, retries and waiting
    are left to the provider.

    `prompt_version` changes with every change of the prompt or rules that affects results.
    """

    prompt_version: str

    def __call__(
        self, inputs: Sequence[EnrichmentInput], classes: Sequence[str]
    ) -> list[EnrichedText]:
        """Return one record per input, in the same order."""
        ...
