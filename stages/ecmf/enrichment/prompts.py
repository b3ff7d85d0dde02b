"""Build the prompt about one clip from its transcript, context and nonverbal cues.

The templates are in `prompt_templates/`, one file per language. Text of a clip is quoted as JSON:
its quotes, line ends and characters of chat markup are escaped, so that a transcript cannot inject
a message.
"""

import functools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from typing import Literal

from ecmf.data.languages import language_code
from ecmf.enrichment import response_schema
from ecmf.enrichment.base import EnrichmentInput
from ecmf.errors import ClipError
from ecmf.execution.result_cache import hash_json

Message = dict[str, str]
"""`role` (system, user or assistant) and `content`."""

PromptLanguage = Literal["auto", "en", "zh"]
PROMPT_LANGUAGE = "Language of the prompt: en, zh, or auto for zh if the transcript is Chinese."

HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
KANA = re.compile(r"[\u3040-\u30ff]")

MARKUP = {ord(char): f"\\u{ord(char):04x}" for char in "<>[]{}|`"}
"""Escapes of the characters in control tokens: <|im_end|>, </s>, [INST]."""

MAX_DATA_CHARACTERS = 20_000
"""Length limit of a clip's data, half an hour of speech: a longer text is probably a mistake."""

MAX_QUOTED_CHARACTERS = 2_000
"""Maximum characters of an invalid reply to send back with the error."""


@dataclass(frozen=True)
class PromptTemplates:
    """The templates of one language and their version; `labels` name the lines of the data."""

    version: str
    system: Template
    user: Template
    retry: Template
    labels: dict[str, str]


@dataclass(frozen=True)
class Prompt:
    """The messages about one clip, and their templates."""

    messages: tuple[Message, ...]
    templates: PromptTemplates

    @property
    def sha256(self) -> str:
        """Hash of all messages: clips with equal messages share a conversation."""
        return hash_json(*self.messages)

    def retry(self, reply: str, error: str) -> list[Message]:
        """Return the messages with an invalid reply and its error."""
        return [
            *self.messages,
            {"role": "assistant", "content": reply[:MAX_QUOTED_CHARACTERS] or "..."},
            {"role": "user", "content": self.templates.retry.substitute(fault=quote(error))},
        ]


@functools.cache
def load_templates(language: Literal["en", "zh"]) -> PromptTemplates:
    """Load the templates of a language."""
    text = (
        files("ecmf")
        .joinpath("enrichment", "prompt_templates", f"{language}.md")
        .read_text(encoding="utf-8")
    )
    head, *sections = re.split(r"^# (\w+)\n", text, flags=re.MULTILINE)
    texts = {name: body.strip() for name, body in zip(sections[::2], sections[1::2], strict=True)}
    return PromptTemplates(
        version=f"{language} {head.partition(':')[2].strip()}",
        system=Template(texts["system"]),
        user=Template(texts["user"]),
        retry=Template(texts["again"]),
        labels=dict(line.split(": ", 1) for line in texts["words"].splitlines()),
    )


def prompt_versions(language: PromptLanguage) -> str:
    """Return the versions of the templates that may be used."""
    used: tuple[Literal["en", "zh"], ...] = ("en", "zh") if language == "auto" else (language,)
    return "prompt " + ", ".join(load_templates(name).version for name in used)


def build_prompt(clip: EnrichmentInput, classes: Sequence[str], language: PromptLanguage) -> Prompt:
    """Build the prompt about the emotion in one clip, independent of the clip's id.

    Raises:
        ClipError: the data of the clip exceed MAX_DATA_CHARACTERS.
    """
    templates = _choose_templates(clip, language)
    data = "\n".join(_data_lines(clip, templates.labels))
    if len(data) > MAX_DATA_CHARACTERS:
        raise ClipError(
            f"transcript, context and facts have {len(data)} characters, "
            f"more than {MAX_DATA_CHARACTERS}: it is not asked about"
        )
    values = {
        "data": data,
        "classes": ", ".join(map(quote, classes)),
        "form": ", ".join(f"{quote(name)}: 0.0" for name in classes),
        "most_cues": response_schema.MAX_CUES,
        "longest_cue": response_schema.MAX_CUE_CHARACTERS,
        "longest_paraphrase": response_schema.MAX_PARAPHRASE_CHARACTERS,
    }
    system, user = templates.system.substitute(values), templates.user.substitute(values)
    return Prompt(
        ({"role": "system", "content": system}, {"role": "user", "content": user}), templates
    )


def _choose_templates(clip: EnrichmentInput, language: PromptLanguage) -> PromptTemplates:
    """Return the templates of `language`; for "auto", Chinese ones for a Chinese transcript.

    A transcript without a language is Chinese if it has a Chinese character and no Japanese one.
    """
    if language != "auto":
        return load_templates(language)
    code = language_code(clip.language)
    written_in_chinese = HAN.search(clip.text) and not KANA.search(clip.text)
    return load_templates("zh" if code == "zh" or (not code and written_in_chinese) else "en")


def _data_lines(clip: EnrichmentInput, labels: dict[str, str]) -> Iterator[str]:
    if clip.language:
        yield f"{labels['language']}: {quote(clip.language)}"
    for line in clip.context:
        label = f"{labels['speaker']} {quote(line.speaker)}" if line.speaker else labels["before"]
        yield f"{label}: {quote(line.text)}"
    yield f"{labels['transcript']}: {quote(clip.text)}"
    if clip.nonverbal_cues:
        yield f"{labels['facts']}: {', '.join(map(quote, clip.nonverbal_cues))}"


def quote(text: str) -> str:
    """Write a text as a JSON string without characters of chat markup or line ends."""
    escaped = json.dumps(text, ensure_ascii=False).translate(MARKUP)
    if escaped.isprintable():
        return escaped
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in escaped)
