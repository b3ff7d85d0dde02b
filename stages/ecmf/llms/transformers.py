"""Get cues, a paraphrase and probabilities from a local chat model, without a server.

Decoding is greedy and constrained to the schema of an answer, so every complete reply is valid JSON
with all classes. The grammar cannot ensure that the probabilities add up to 1.
"""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from pydantic import Field

from ecmf.enrichment import local_chat
from ecmf.enrichment.chat import Chat
from ecmf.enrichment.chat_provider import ChatProvider
from ecmf.enrichment.local_chat import LocalChat
from ecmf.enrichment.prompts import PROMPT_LANGUAGE, PromptLanguage
from ecmf.execution import device
from ecmf.pretrained.transformers_model import locate
from ecmf.pretrained.weights import Weights

WEIGHTS_LICENCE = "that of the repository"
NEEDS = "a repository of the hub, fetched once, or a folder of weights"


class Options(Weights):
    """Weights of a chat model with its tokenizer."""

    prompt_language: PromptLanguage = Field("auto", description=PROMPT_LANGUAGE)
    longest_prompt: int = Field(4096, ge=1, description="Maximum tokens of a prompt.")
    longest_answer: int = Field(512, ge=1, description="Maximum tokens of a reply.")


class Provider(ChatProvider):
    """Use a model in this process. Weights are hashed first, and loaded for the first prompt."""

    name = "transformers"

    def __init__(self, options: Options) -> None:
        super().__init__(options.prompt_language)
        self._options = options
        self._pretrained = locate(options)
        self._name = (
            f"{options.repository}@{self._pretrained.provenance['commit']}"
            if options.repository
            else self._pretrained.folder.name
        )
        self.on_gpu = device.requested() != "cpu"

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything but the prompt that determines a reply to the bit."""
        return {
            "options": self._options.model_dump(include={"longest_prompt", "longest_answer"}),
            "provenance": dict(self._pretrained.provenance),
            "device": device.requested().partition(":")[0],
            "rows_per_batch": local_chat.ROWS_PER_BATCH,
            "tokens_per_step": local_chat.TOKENS_PER_STEP,
            "versions": {name: version(name) for name in ("llguidance", "tokenizers")},
        }

    def open(self, schema: Mapping[str, Any]) -> Chat:
        """Load the model."""
        options = self._options
        return LocalChat(
            self._pretrained, self._name, schema, options.longest_prompt, options.longest_answer
        )
