"""A transcript and what is known of it -> the question that a chat model is asked.

The words stand in `prompt_templates/`, a file per language. What comes from a clip stands in
quotation marks that it cannot end: quotes, line ends and every sign that the markup of some model
is made of are written as JSON escapes. So no transcript can close its fence or open a message of
its own.
"""

import functools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from typing import Literal

from ecmf.enrichment import response_schema
from ecmf.enrichment.base import Transcript
from ecmf.errors import ClipError
from ecmf.execution.result_cache import hashed

Message = dict[str, str]
"""`role` (system, user or assistant) and `content`, as every chat interface takes them."""

PromptLanguage = Literal["auto", "en", "zh"]

CHINESE = frozenset({"chi", "chinese", "cmn", "mandarin", "zh", "zho"})
HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
KANA = re.compile(r"[\u3040-\u30ff]")

MARKUP = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>[]{}|`"}
"""Sign -> its escape, of those that control tokens are written with: <|im_end|>, </s>, [INST]."""

MOST_DATA = 20_000
"""Characters a clip may tell, half an hour of speech: what is longer is a mistake, and not paid."""

MOST_REPEATED = 2_000
"""Characters of a reply that are shown again to the model that has to mend it."""


@dataclass(frozen=True)
class Prompt:
    """The texts of one language, and the version they have."""

    version: str
    system: Template
    user: Template
    again: Template
    words: dict[str, str]


@dataclass(frozen=True)
class Question:
    """What is asked about one clip, and the prompt whose words it is asked with."""

    messages: tuple[Message, ...]
    prompt: Prompt

    @property
    def key(self) -> str:
        """The hash of all that is asked: clips that are told the same share an answer."""
        return hashed(*self.messages)

    def again(self, reply: str, fault: str) -> list[Message]:
        """Ask once more, saying what was wrong with the reply."""
        return [
            *self.messages,
            {"role": "assistant", "content": reply[:MOST_REPEATED] or "..."},
            {"role": "user", "content": self.prompt.again.substitute(fault=quoted(fault))},
        ]


@functools.cache
def prompt(language: Literal["en", "zh"]) -> Prompt:
    """Read the prompt of a language."""
    text = (
        files("ecmf")
        .joinpath("enrichment", "prompt_templates", f"{language}.md")
        .read_text(encoding="utf-8")
    )
    head, *sections = re.split(r"^# (\w+)\n", text, flags=re.MULTILINE)
    found = {name: body.strip() for name, body in zip(sections[::2], sections[1::2], strict=True)}
    return Prompt(
        version=f"{language} {head.partition(':')[2].strip()}",
        system=Template(found["system"]),
        user=Template(found["user"]),
        again=Template(found["again"]),
        words=dict(line.split(": ", 1) for line in found["words"].splitlines()),
    )


def versions(wanted: PromptLanguage) -> str:
    """Say which prompts may be used, and in which version."""
    used: tuple[Literal["en", "zh"], ...] = ("en", "zh") if wanted == "auto" else (wanted,)
    return "prompt " + ", ".join(prompt(language).version for language in used)


def question(transcript: Transcript, classes: Sequence[str], wanted: PromptLanguage) -> Question:
    """Ask what is felt in one clip; the same clip makes the same messages, whatever its id is.

    Raises:
        ClipError: there is more to tell of it than MOST_DATA.
    """
    chosen = _prompt(transcript, wanted)
    data = "\n".join(_lines(transcript, chosen.words))
    if len(data) > MOST_DATA:
        raise ClipError(
            f"transcript, context and facts have {len(data)} characters, more than {MOST_DATA}: "
            "it is not asked about"
        )
    values = {
        "data": data,
        "classes": ", ".join(map(quoted, classes)),
        "form": ", ".join(f"{quoted(name)}: 0.0" for name in classes),
        "most_cues": response_schema.MOST_CUES,
        "longest_cue": response_schema.LONGEST_CUE,
        "longest_paraphrase": response_schema.LONGEST_PARAPHRASE,
    }
    system, user = chosen.system.substitute(values), chosen.user.substitute(values)
    return Question(
        ({"role": "system", "content": system}, {"role": "user", "content": user}), chosen
    )


def _prompt(transcript: Transcript, wanted: PromptLanguage) -> Prompt:
    """Return the Chinese prompt for a Chinese transcript, else the English one, if so wanted.

    A transcript of no stated language is Chinese if it has a Chinese character and no Japanese one.
    """
    if wanted != "auto":
        return prompt(wanted)
    language = re.split(r"[-_]", transcript.language.lower())[0]
    written = HAN.search(transcript.text) and not KANA.search(transcript.text)
    return prompt("zh" if language in CHINESE or (not language and written) else "en")


def _lines(transcript: Transcript, words: dict[str, str]) -> Iterator[str]:
    if transcript.language:
        yield f"{words['language']}: {quoted(transcript.language)}"
    for line in transcript.context:
        who = f"{words['speaker']} {quoted(line.speaker)}" if line.speaker else words["before"]
        yield f"{who}: {quoted(line.text)}"
    yield f"{words['transcript']}: {quoted(transcript.text)}"
    if transcript.facts:
        yield f"{words['facts']}: {', '.join(map(quoted, transcript.facts))}"


def quoted(text: str) -> str:
    """Write a text as a JSON string in which no sign can be taken for markup or for a line end."""
    escaped = json.dumps(text, ensure_ascii=False).translate(MARKUP)
    if escaped.isprintable():
        return escaped
    return "".join(sign if sign.isprintable() else json.dumps(sign)[1:-1] for sign in escaped)
