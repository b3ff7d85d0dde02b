"""What a model replies is taken for an answer only if it is one."""

import json
from typing import Any

import pytest

from ecmf.enrichment import response_schema
from ecmf.enrichment.response_schema import AnswerError, parse, schema

CLASSES = ("angry", "happy", "很难过")
SHARES = {"angry": 0.5, "happy": 0.25, "很难过": 0.25}


def reply(**changes: Any) -> str:
    good = {"cues": ["hate"], "paraphrase": "I cannot stand it.", "probabilities": SHARES}
    return json.dumps({**good, **changes})


def test_an_answer_comes_back_as_it_was_given() -> None:
    answer = parse(reply(), CLASSES)
    assert (answer.cues, answer.paraphrase) == (("hate",), "I cannot stand it.")
    assert answer.shares(CLASSES) == SHARES


@pytest.mark.parametrize(
    "around",
    ["{}", "Sure! Here it is:\n{}\nIs that all?", "```json\n{}\n```", "<think>a {{b}}</think>{}"],
)
def test_prose_thoughts_and_code_fences_around_one_object_are_forgiven(around: str) -> None:
    assert parse(around.format(reply()), CLASSES) == parse(reply(), CLASSES)


@pytest.mark.parametrize(
    ("text", "fault"),
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
        (reply(probabilities={**SHARES, "furious": 0}), "'?furious'? is none of them"),
        (reply(probabilities={"angry": 0.5, "happy": 0.5}), "很难过 is missing"),
        (reply(probabilities={**SHARES, "happy": "0.25"}), "happy: Input should be a valid number"),
        (reply(probabilities={**SHARES, "happy": True}), "happy: Input should be a valid number"),
        (reply(probabilities={**SHARES, "happy": -0.25}), "happy: .* greater than or equal to 0"),
        (reply(probabilities={**SHARES, "happy": 1.25}), "happy: .* less than or equal to 1"),
        (reply(probabilities={**SHARES, "happy": float("nan")}), "happy: .* finite number"),
        (reply(probabilities=dict.fromkeys(CLASSES, 0.0)), "add up to 0.00, not to 1"),
        (reply(probabilities=dict.fromkeys(CLASSES, 0.8)), "add up to 2.40, not to 1"),
        (reply(paraphrase="x" * 1_000_000), "more than 20000 characters"),
    ],
)
def test_a_reply_that_is_no_answer_says_what_is_wrong(text: str, fault: str) -> None:
    with pytest.raises(AnswerError, match=fault):
        parse(text, CLASSES)


def test_shares_that_are_off_by_rounding_are_made_to_add_up_to_one() -> None:
    rounded = parse(reply(probabilities=dict.fromkeys(CLASSES, 0.33)), CLASSES)
    assert rounded.shares(CLASSES) == dict.fromkeys(CLASSES, pytest.approx(1 / 3))
    assert sum(rounded.shares(CLASSES).values()) == pytest.approx(1, abs=1e-12)


def test_the_order_of_the_classes_is_the_corpus_s_not_the_model_s() -> None:
    turned = dict(reversed(SHARES.items()))
    assert list(parse(reply(probabilities=turned), CLASSES).shares(CLASSES)) == list(CLASSES)


def test_no_line_end_and_no_control_sign_comes_through() -> None:
    answer = parse(reply(cues=["a\nb\x1b[31m\u2028c"], paraphrase=" a \x00\t b "), CLASSES)
    assert (answer.cues, answer.paraphrase) == (("a b [31m c",), "a b")


def test_what_is_said_of_a_fault_is_one_short_line_whatever_the_model_wrote() -> None:
    names = {f"{'furious ' * 50}\n\x1b{number}": 0.1 for number in range(20)}
    with pytest.raises(AnswerError, match="is none of them") as caught:
        parse(reply(probabilities=names), CLASSES)
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


def test_the_schema_is_closed_and_asks_for_every_class() -> None:
    found = schema(CLASSES)
    shares = found["properties"]["probabilities"]
    for part in (found, shares):
        assert part["additionalProperties"] is False
        assert part["required"] == list(part["properties"])
    assert list(shares["properties"]) == list(CLASSES)
    assert found["properties"]["cues"]["maxItems"] == response_schema.MOST_CUES
