"""Cues, a paraphrase and probabilities from a chat model in this process: no server, no network.

Decoding is greedy and held to the schema of an answer, so every reply that is not cut is valid JSON
of all the classes; that the shares add up to 1 no grammar can promise.
"""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from pydantic import Field

from ecmf import conversing, device
from ecmf.asking import Asked
from ecmf.chat import Chat
from ecmf.conversing import Conversing
from ecmf.encoders.pretrained import locate
from ecmf.encoders.weights import Weights
from ecmf.prompting import PromptLanguage


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
            "rows_per_batch": conversing.ROWS_PER_BATCH,
            "tokens_per_step": conversing.TOKENS_PER_STEP,
            "versions": {name: version(name) for name in ("llguidance", "tokenizers")},
        }

    def open(self, schema: Mapping[str, Any]) -> Chat:
        """Load the network."""
        options = self._options
        return Conversing(
            self._pretrained, self._called, schema, options.longest_prompt, options.longest_answer
        )
