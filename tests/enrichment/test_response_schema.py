"""Only a valid reply is accepted as an answer."""

import json
from typing import Any

import pytest

from ecmf.enrichment import response_schema
from ecmf.enrichment.response_schema import AnswerError, answer_schema, parse_answer

CLASSES = ("angry", "happy", "很难过")
PROBABILITIES = {"angry": 0.5, "happy": 0.25, "很难过": 0.25}


def reply(**changes: Any) -> str:
    valid = {"cues": ["hate"], "paraphrase": "I cannot stand it.", "probabilities": PROBABILITIES}
    return json.dumps({**valid, **changes})


def test_a_valid_answer_is_parsed_unchanged() -> None:
    answer = parse_answer(reply(), CLASSES)
    assert (answer.cues, answer.paraphrase) == (("hate",), "I cannot stand it.")
    assert answer.normalised_probabilities(CLASSES) == PROBABILITIES


@pytest.mark.parametrize(
    "around",
    ["{}", "Sure! Here it is:\n{}\nIs that all?", "```json\n{}\n```", "<think>a {{b}}</think>{}"],
)
def test_prose_thoughts_and_code_fences_around_one_object_are_accepted(around: str) -> None:
    assert parse_answer(around.format(reply()), CLASSES) == parse_answer(reply(), CLASSES)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "no JSON object"),
        ("I think she is angry.", "no JSON object"),
        ('["angry"]', "no JSON object"),
        ("<!DOCTYPE html><html><body>502</body></html>", "no JSON object"),
        (reply()[:-3], "Invalid JSON: EOF"),
        (reply().replace('"cues":', "cues:"), "Invalid JSON: key must be a string"),
        (f"{reply()} or {reply()}", "Invalid JSON: trailing characters"),
        ('{"a":' * 3000 + "1" + "}" * 3000, "Invalid JSON: recursion limit exceeded"),
        ('{"cues": [], "paraphrase": "x"}', "probabilities: Field required"),
        (reply(mood="sad"), "mood: Extra inputs are not permitted"),
        (reply(cues="hate"), "cues: Input should be a valid array"),
        (reply(cues=["a"] * 7), "cues: .* at most 6 items"),
        (reply(cues=["a" * 101]), "cues.0: .* at most 100"),
        (reply(cues=["\n\t"]), "cues.0: .* at least 1"),
        (reply(paraphrase=None), "paraphrase: Input should be a valid string"),
        (reply(paraphrase="a" * 401), "paraphrase: .* at most 400"),
        (reply(paraphrase="half a sign \ud83d"), "Invalid JSON"),
        (reply(probabilities={**PROBABILITIES, "furious": 0}), "'?furious'? is none of them"),
        (reply(probabilities={"angry": 0.5, "happy": 0.5}), "很难过 is missing"),
        (
            reply(probabilities={**PROBABILITIES, "happy": "0.25"}),
            "happy: Input should be a valid number",
        ),
        (
            reply(probabilities={**PROBABILITIES, "happy": True}),
            "happy: Input should be a valid number",
        ),
        (
            reply(probabilities={**PROBABILITIES, "happy": -0.25}),
            "happy: .* greater than or equal to 0",
        ),
        (
            reply(probabilities={**PROBABILITIES, "happy": 1.25}),
            "happy: .* less than or equal to 1",
        ),
        (reply(probabilities={**PROBABILITIES, "happy": float("nan")}), "happy: .* finite number"),
        (reply(probabilities=dict.fromkeys(CLASSES, 0.0)), "add up to 0.00, not to 1"),
        (reply(probabilities=dict.fromkeys(CLASSES, 0.8)), "add up to 2.40, not to 1"),
        (reply(paraphrase="x" * 1_000_000), "more than 20000 characters"),
    ],
)
def test_an_invalid_reply_gives_the_reason(text: str, error: str) -> None:
    with pytest.raises(AnswerError, match=error):
        parse_answer(text, CLASSES)


def test_probabilities_off_by_rounding_are_normalised() -> None:
    rounded = parse_answer(reply(probabilities=dict.fromkeys(CLASSES, 0.33)), CLASSES)
    assert rounded.normalised_probabilities(CLASSES) == dict.fromkeys(CLASSES, pytest.approx(1 / 3))
    assert sum(rounded.normalised_probabilities(CLASSES).values()) == pytest.approx(1, abs=1e-12)


def test_the_order_of_the_classes_is_the_corpus_s_not_the_model_s() -> None:
    turned = dict(reversed(PROBABILITIES.items()))
    assert list(
        parse_answer(reply(probabilities=turned), CLASSES).normalised_probabilities(CLASSES)
    ) == list(CLASSES)


def test_line_ends_and_control_characters_are_removed() -> None:
    answer = parse_answer(reply(cues=["a\nb\x1b[31m\u2028c"], paraphrase=" a \x00\t b "), CLASSES)
    assert (answer.cues, answer.paraphrase) == (("a b [31m c",), "a b")


def test_an_error_message_is_one_short_line_whatever_the_model_wrote() -> None:
    names = {f"{'furious ' * 50}\n\x1b{number}": 0.1 for number in range(20)}
    with pytest.raises(AnswerError, match="is none of them") as caught:
        parse_answer(reply(probabilities=names), CLASSES)
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


def test_the_schema_is_closed_and_requires_every_class() -> None:
    found = answer_schema(CLASSES)
    probabilities = found["properties"]["probabilities"]
    for part in (found, probabilities):
        assert part["additionalProperties"] is False
        assert part["required"] == list(part["properties"])
    assert list(probabilities["properties"]) == list(CLASSES)
    assert found["properties"]["cues"]["maxItems"] == response_schema.MAX_CUES
