"""Get cues, a paraphrase and probabilities from a chat model of an OpenAI-compatible server.

The environment variables `OPENAI_BASE_URL` and `OPENAI_API_KEY` define the server; see
`enrichment/credentials.py`.
"""

import os
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from ecmf.config import Section
from ecmf.enrichment.chat import Chat
from ecmf.enrichment.chat_provider import ChatProvider
from ecmf.enrichment.openai_client import CompletionRequest
from ecmf.enrichment.prompts import PROMPT_LANGUAGE, PromptLanguage
from ecmf.enrichment.server_chat import ServerChat
from ecmf.errors import ParamsError

WEIGHTS_LICENCE = "that of the server's model"
NEEDS = "a server: OPENAI_BASE_URL and OPENAI_API_KEY"


class Options(Section):
    """Options of the chat model; the temperature is 0."""

    model: str = Field("", description="Name of the model on the server; default: $OPENAI_MODEL.")
    prompt_language: PromptLanguage = Field("auto", description=PROMPT_LANGUAGE)
    longest_answer: int = Field(512, ge=1, description="Maximum tokens of a reply.")
    seed: int = Field(0, description="Seed for servers that sample even at temperature 0.")


class Provider(ChatProvider):
    """Use a model of a server. The cache key has the model's name, not the server's address."""

    name = "openai"

    def __init__(self, options: Options) -> None:
        super().__init__(options.prompt_language)
        self._options = options
        self._model = options.model or os.environ.get("OPENAI_MODEL", "")
        if not self._model:
            raise ParamsError(
                "no model for the provider openai: set enrich_text.options.openai.model or the "
                "environment variable OPENAI_MODEL"
            )

    @property
    def identity(self) -> Mapping[str, Any]:
        """The name of the model and the parameters of its requests."""
        options = self._options.model_dump(include={"longest_answer", "seed"})
        return {"options": {"model": self._model, **options}}

    def open(self, schema: Mapping[str, Any]) -> Chat:
        """Connect to the server."""
        options = self._options
        request = CompletionRequest(self._model, options.longest_answer, options.seed, schema)
        return ServerChat(request)
