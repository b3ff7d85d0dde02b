"""Whatever a language model replies is a valid answer or an error of one line."""

import json
from typing import Any

import numpy as np
import pytest
from injections import INJECTIONS
from mutants import mutant

from ecmf.enrichment.response_schema import (
    MAX_CUE_CHARACTERS,
    MAX_CUES,
    MAX_PARAPHRASE_CHARACTERS,
    AnswerError,
    parse_answer,
)

CLASSES = ("angry", "happy", "很难过")
ANSWER = {
    "cues": ["hate", "a loud voice"],
    "paraphrase": "I cannot stand it.",
    "probabilities": {"angry": 0.5, "happy": 0.25, "很难过": 0.25},
}
AROUND = ("{}", "Sure!\n{}\nIs that all?", "```json\n{}\n```", "<think>{{}}</think>{}", "{} {}")

ODD_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 2, 10**30, 1e308, -0.0, 1e-320, float("nan"), float("inf"), "", "0.5", "\0",
    "a" * 30_000, "\ud800", [], {}, ["a"] * 1000, {"angry": 1}, [[[[[]]]]], *INJECTIONS,
)  # fmt: skip

ANSWERS_PER_CASE = 30
"""A case is quick, so it stands for several answers."""


def with_odd_value(rng: np.random.Generator) -> str:
    """Replace a value of the answer, remove it, or add one."""
    answer = json.loads(json.dumps(ANSWER))
    table = (answer, answer["probabilities"])[rng.integers(2)]
    key = list(table)[rng.integers(len(table))]
    odd = ODD_VALUES[rng.integers(len(ODD_VALUES))]
    kind = rng.integers(4)
    if kind == 0:
        del table[key]
    elif kind == 1:
        answer["cues"].append(odd)
    else:
        table[key if kind == 2 else str(odd)] = odd
    text = json.dumps(answer, ensure_ascii=bool(rng.integers(2)))
    return AROUND[rng.integers(len(AROUND))].replace("{}", text)


def check(reply: str) -> None:
    """Check what `parse_answer` makes of a reply."""
    try:
        answer = parse_answer(reply, CLASSES)
    except AnswerError as error:
        assert str(error).isprintable()
        assert 0 < len(str(error)) < 2000
        return
    probabilities = answer.normalised_probabilities(CLASSES)
    assert list(probabilities) == list(CLASSES)
    assert sum(probabilities.values()) == pytest.approx(1)
    assert all(0 <= value <= 1 for value in probabilities.values())
    assert len(answer.cues) <= MAX_CUES
    assert all(0 < len(cue) <= MAX_CUE_CHARACTERS for cue in answer.cues)
    assert 0 < len(answer.paraphrase) <= MAX_PARAPHRASE_CHARACTERS
    assert "".join((*answer.cues, answer.paraphrase)).isprintable()


def test_an_odd_answer_is_refused_with_a_reason_or_valid(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(ANSWERS_PER_CASE):
        check(with_odd_value(rng))


def test_a_damaged_answer_is_refused_with_a_reason_or_valid(seed: int) -> None:
    content = json.dumps(ANSWER, ensure_ascii=False, indent=seed % 3).encode()
    for number in range(ANSWERS_PER_CASE):
        check(mutant(content, seed * ANSWERS_PER_CASE + number).decode(errors="replace"))
