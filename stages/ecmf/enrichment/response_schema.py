"""A reply of a language model -> the one answer it holds, or what is wrong with it, in words.

A reply is untrusted text. Prose or a code fence around the JSON object is forgiven; a missing or
unknown class, a share that is none, a text or a list beyond its limit is not.
"""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)

MOST_CHARACTERS = 20_000
"""Of a reply, ten times what the limits below allow: what is longer was not written for us."""

MOST_CUES = 6
LONGEST_CUE = 100
LONGEST_PARAPHRASE = 400

OFF_BY_ROUNDING = 0.1
"""How far from 1 the probabilities may add up: eight shares of one digit can be off by 0.4, but a
model that is off by more than this has mostly rated each class by itself."""

MOST_FAULTS = 5
"""Named at once to the model that is asked again."""

END_OF_THINKING = "</think>"
"""What models that think aloud put before their answer, where the server does not take it away."""


class AnswerError(ValueError):
    """A reply that is no answer: what is wrong with it, for the model and for the record."""


def on_one_line(text: str) -> str:
    """Make a space of every run of line ends, tabs and control signs."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _clean(value: Any) -> Any:
    return on_one_line(value) if isinstance(value, str) else value  # else the schema will say so


OnOneLine = BeforeValidator(_clean)
Cue = Annotated[str, OnOneLine, Field(min_length=1, max_length=LONGEST_CUE)]
Paraphrase = Annotated[str, OnOneLine, Field(min_length=1, max_length=LONGEST_PARAPHRASE)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Answer(BaseModel):
    """What is asked of a model: cues, what is felt in other words, and a share for every class.

    It is validated with the classes as its context.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    cues: Annotated[tuple[Cue, ...], Field(max_length=MOST_CUES)]
    paraphrase: Paraphrase
    probabilities: dict[str, Probability]

    @model_validator(mode="after")
    def _of_these_classes(self, info: ValidationInfo) -> Self:
        classes: Sequence[str] = (info.context or {})["classes"]
        unknown = [_short(name) for name in self.probabilities if name not in classes]
        missing = [name for name in classes if name not in self.probabilities]
        if unknown or missing:
            raise ValueError(
                f"the classes are {', '.join(classes)}"
                + (f"; {', '.join(unknown[:MOST_FAULTS])} is none of them" if unknown else "")
                + (f"; {', '.join(missing)} is missing" if missing else "")
            )
        total = sum(self.probabilities.values())
        if abs(total - 1) > OFF_BY_ROUNDING:
            raise ValueError(f"the probabilities add up to {total:.2f}, not to 1")
        return self

    def shares(self, classes: Sequence[str]) -> dict[str, float]:
        """Give the probabilities in the order of the classes, adding up to 1."""
        total = sum(self.probabilities.values())
        return {name: self.probabilities[name] / total for name in classes}


def schema(classes: Sequence[str]) -> dict[str, Any]:
    """Return the JSON schema of an answer, which decoding can be held to: closed, all required.

    No schema can say that shares add up to 1.
    """
    found = Answer.model_json_schema()
    del found["description"]
    share = found["properties"]["probabilities"]["additionalProperties"]
    found["properties"]["probabilities"] = {
        "type": "object",
        "properties": dict.fromkeys(classes, share),
        "required": list(classes),
        "additionalProperties": False,
    }
    return found


def parse(reply: str, classes: Sequence[str]) -> Answer:
    """Read the one JSON object of a reply.

    Raises:
        AnswerError: there is none, or it is no answer for these classes; says what is wrong.
    """
    if len(reply) > MOST_CHARACTERS:
        raise AnswerError(f"more than {MOST_CHARACTERS} characters")
    text = reply.rpartition(END_OF_THINKING)[2]
    first, last = text.find("{"), text.rfind("}")
    if first < 0:
        raise AnswerError("no JSON object")
    try:
        return Answer.model_validate_json(text[first : last + 1], context={"classes": classes})
    except ValidationError as error:
        raise AnswerError("; ".join(_faults(error))) from None


def _faults(error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False, include_input=False)[:MOST_FAULTS]:
        where = ".".join(_short(str(step)) for step in fault["loc"])
        yield f"{where}: {fault['msg']}" if where else fault["msg"].removeprefix("Value error, ")


def _short(text: str) -> str:
    """A name a model made up, fit for a log."""
    return textwrap.shorten(on_one_line(text), 40, placeholder="...") or "''"
