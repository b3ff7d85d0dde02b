"""Parse and validate the answer in a reply of a language model.

A reply is untrusted text. Prose or a code fence around the JSON object is accepted; a missing or
unknown class, an invalid probability, or a text or list beyond its limit is an error. The error
messages are sent to the model, so their wording affects its replies.
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

MAX_REPLY_CHARACTERS = 20_000
"""Length limit of a reply, ten times that of an answer within the limits below."""

MAX_CUES = 6
MAX_CUE_CHARACTERS = 100
MAX_PARAPHRASE_CHARACTERS = 400

SUM_TOLERANCE = 0.1
"""Allowed deviation of the sum of probabilities from 1. Rounding eight probabilities to one digit
can cause 0.4, but a model that exceeds 0.1 has usually rated each class separately."""

MAX_REPORTED_ERRORS = 5
"""Maximum errors of a reply that are reported to the model."""

END_OF_THINKING = "</think>"
"""End tag of a reasoning model's thoughts, if the server does not remove them."""


class AnswerError(ValueError):
    """Reply without a valid answer; the message goes to the model and into the record."""


def to_one_line(text: str) -> str:
    """Replace every run of whitespace and control characters by a space."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


OneLineText = BeforeValidator(lambda value: to_one_line(value) if isinstance(value, str) else value)
Cue = Annotated[str, OneLineText, Field(min_length=1, max_length=MAX_CUE_CHARACTERS)]
Paraphrase = Annotated[str, OneLineText, Field(min_length=1, max_length=MAX_PARAPHRASE_CHARACTERS)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Answer(BaseModel):
    """Answer of the model: cues, the emotion in other words, a probability for every class.

    It is validated with the classes as pydantic context. Its JSON schema, including the names of
    class and fields, is part of the key of cached replies.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    cues: Annotated[tuple[Cue, ...], Field(max_length=MAX_CUES)]
    paraphrase: Paraphrase
    probabilities: dict[str, Probability]

    @model_validator(mode="after")
    def _check_classes(self, info: ValidationInfo) -> Self:
        classes: Sequence[str] = (info.context or {})["classes"]
        unknown = [_shorten(name) for name in self.probabilities if name not in classes]
        missing = [name for name in classes if name not in self.probabilities]
        if unknown or missing:
            raise ValueError(
                f"the classes are {', '.join(classes)}"
                + (
                    f"; {', '.join(unknown[:MAX_REPORTED_ERRORS])} is none of them"
                    if unknown
                    else ""
                )
                + (f"; {', '.join(missing)} is missing" if missing else "")
            )
        total = sum(self.probabilities.values())
        if abs(total - 1) > SUM_TOLERANCE:
            raise ValueError(f"the probabilities add up to {total:.2f}, not to 1")
        return self

    def normalised_probabilities(self, classes: Sequence[str]) -> dict[str, float]:
        """Return the probabilities in the order of `classes`, scaled to add up to 1."""
        total = sum(self.probabilities.values())
        return {name: self.probabilities[name] / total for name in classes}


def answer_schema(classes: Sequence[str]) -> dict[str, Any]:
    """Return the JSON schema of an answer for constrained decoding: closed, all fields required.

    A JSON schema cannot express that the probabilities add up to 1.
    """
    schema = Answer.model_json_schema()
    del schema["description"]
    probability = schema["properties"]["probabilities"]["additionalProperties"]
    schema["properties"]["probabilities"] = {
        "type": "object",
        "properties": dict.fromkeys(classes, probability),
        "required": list(classes),
        "additionalProperties": False,
    }
    return schema


def parse_answer(reply: str, classes: Sequence[str]) -> Answer:
    """Parse the JSON object of a reply.

    Raises:
        AnswerError: there is no object, or it is not a valid answer for these classes.
    """
    if len(reply) > MAX_REPLY_CHARACTERS:
        raise AnswerError(f"more than {MAX_REPLY_CHARACTERS} characters")
    text = reply.rpartition(END_OF_THINKING)[2]
    first, last = text.find("{"), text.rfind("}")
    if first < 0:
        raise AnswerError("no JSON object")
    try:
        return Answer.model_validate_json(text[first : last + 1], context={"classes": classes})
    except ValidationError as error:
        raise AnswerError("; ".join(_messages(error))) from None


def _messages(error: ValidationError) -> Iterator[str]:
    for detail in error.errors(include_url=False, include_input=False)[:MAX_REPORTED_ERRORS]:
        where = ".".join(_shorten(str(step)) for step in detail["loc"])
        yield f"{where}: {detail['msg']}" if where else detail["msg"].removeprefix("Value error, ")


def _shorten(text: str) -> str:
    """Shorten a name written by the model for a message."""
    return textwrap.shorten(to_one_line(text), 40, placeholder="...") or "''"
