"""Cues, a paraphrase and probabilities from a chat model in this process: no server, no network.

Decoding is greedy and held to the schema of an answer, so every reply that is not cut is valid JSON
of all the classes; that the shares add up to 1 no grammar can promise.
"""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from pydantic import Field

from ecmf.enrichment import local_chat
from ecmf.enrichment.chat import Chat
from ecmf.enrichment.chat_provider import Asked
from ecmf.enrichment.local_chat import Conversing
from ecmf.enrichment.prompts import PromptLanguage
from ecmf.execution import device
from ecmf.pretrained.transformers_model import locate
from ecmf.pretrained.weights import Weights


class Options(Weights):
    """Weights of a chat model with its tokenizer. A prompt longer than `longest_prompt` fails.

    Both lengths are in tokens; `longest_answer` bounds a reply.
    """

    prompt_language: PromptLanguage = "auto"
    longest_prompt: int = Field(4096, ge=1)
    longest_answer: int = Field(512, ge=1)


class Provider(Asked):
    """Answers by itself; weights are found and hashed at once, and loaded when first asked."""

    name = "transformers"

    def __init__(self, options: Options) -> None:
        super().__init__(options.prompt_language)
        self._options = options
        self._pretrained = locate(options)
        self._called = (
            f"{options.repository}@{self._pretrained.provenance['commit']}"
            if options.repository
            else self._pretrained.folder.name
        )
        self.on_gpu = device.requested() != "cpu"

    @property
    def identity(self) -> Mapping[str, Any]:
        """What decides a reply to the last bit."""
        return {
            "options": self._options.model_dump(include={"longest_prompt", "longest_answer"}),
            "provenance": dict(self._pretrained.provenance),
            "device": device.requested().partition(":")[0],
            "rows_per_batch": local_chat.ROWS_PER_BATCH,
            "tokens_per_step": local_chat.TOKENS_PER_STEP,
            "versions": {name: version(name) for name in ("llguidance", "tokenizers")},
        }

    def open(self, schema: Mapping[str, Any]) -> Chat:
        """Load the network."""
        options = self._options
        return Conversing(
            self._pretrained, self._called, schema, options.longest_prompt, options.longest_answer
        )
