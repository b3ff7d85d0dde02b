"""Cues, a paraphrase and probabilities from a chat model behind any OpenAI-compatible server.

`OPENAI_BASE_URL` and `OPENAI_API_KEY` of the environment say where; see `completions.py`.
"""

import os
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from ecmf.config import Section
from ecmf.enrichment.chat import Chat
from ecmf.enrichment.chat_provider import Asked
from ecmf.enrichment.openai_client import Request
from ecmf.enrichment.prompts import PromptLanguage
from ecmf.enrichment.server_chat import Endpoint
from ecmf.errors import ParamsError


class Options(Section):
    """`model` as the server knows it; without it, `OPENAI_MODEL` of the environment.

    Replies have at most `longest_answer` tokens. Temperature is 0; `seed` is for servers that draw
    all the same.
    """

    model: str = ""
    prompt_language: PromptLanguage = "auto"
    longest_answer: int = Field(512, ge=1)
    seed: int = 0


class Provider(Asked):
    """Asks the server; where it runs decides nothing, so an answer is known by the model's name."""

    name = "openai"

    def __init__(self, options: Options) -> None:
        super().__init__(options.prompt_language)
        self._options = options
        self._model = options.model or os.environ.get("OPENAI_MODEL", "")
        if not self._model:
            raise ParamsError(
                "no model for the provider openai: name it in enrich_text.options.openai.model, or "
                "in OPENAI_MODEL"
            )

    @property
    def identity(self) -> Mapping[str, Any]:
        """The model by its name, and what it is told beside the messages."""
        options = self._options.model_dump(include={"longest_answer", "seed"})
        return {"options": {"model": self._model, **options}}

    def open(self, schema: Mapping[str, Any]) -> Chat:
        """Connect to the server."""
        options = self._options
        return Endpoint(Request(self._model, options.longest_answer, options.seed, schema))
