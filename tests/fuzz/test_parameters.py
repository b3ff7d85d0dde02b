"""Damaged parameters are refused with one message, and what is accepted is what is written."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from mutants import mutant
from pydantic import TypeAdapter

from ecmf.errors import ParamsError
from ecmf.params import load_params

WRITTEN = (Path(__file__).parents[2] / "params.yaml").read_bytes()
READ = yaml.safe_load(WRITTEN)

ODD_VALUES: tuple[Any, ...] = (
    None, True, "", "x", " ", -1, 0, 1, 10**400, -(10**400), 0.5, 1e308, float("nan"), float("inf"),
    [], [[]], {}, {"a": 1}, {1: 2}, [None], "../../etc", "/dev/zero", "\x1b[2J", "a" * 100_000,
    "=cmd", "2026-01-01", "__class__", "{{ x }}",
)  # fmt: skip
"""Values that stand in the place of a value, or of a whole section."""

ODD_TEXTS = (
    b"a: &a [x]\n" + b"".join(b"%c: &%c [%s]\n" % (98 + i, 98 + i, b"*%c," % (97 + i) * 9)
                              for i in range(9)),
    b"[" * 2000, b"{a: " * 2000, b"!!python/object/apply:os.system [true]", b"a: *b", b"? ? ? :",
    b"corpus: &x [*x]", b"%YAML 9.9\n---\n", b"--- 1\n--- 2\n", b"\xff\xfe", b"\t", b"",
    b"a: 0x" + b"f" * 5000, b"a: " + b"9" * 5000, b"0x" + b"f" * 5000 + b": 1",
    b"a: 2026-99-99", b"<<: [1]", b"<<: *a",
)  # fmt: skip
"""Texts that a parser of YAML may choke on."""


def load(folder: Path, content: bytes) -> None:
    """Load the text; if it is accepted, nothing of it may be lost or changed."""
    path = folder / "params.yaml"
    path.write_bytes(content)
    try:
        params = load_params(path)
    except ParamsError as error:
        assert 0 < len(str(error)) < 20_000
        return
    written = yaml.safe_load(content)
    kept = params.model_dump(mode="json", by_alias=True)
    for keys, value in leaves(written):
        found = kept
        for key in keys:
            found = found[key]
        # a text such as "off" is read as a truth value, one such as "3" as a number
        assert found == TypeAdapter(type(found)).validate_python(value), keys


def leaves(value: Any, keys: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield every value that is no table, and the keys that lead to it."""
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from leaves(each, (*keys, key))
    else:
        yield keys, value


def with_odd_value(seed: int) -> bytes:
    """Replace a value or a section of the parameters, remove it, or add one."""
    rng = np.random.default_rng(seed)
    content = copy.deepcopy(READ)
    odd = ODD_VALUES[rng.integers(len(ODD_VALUES))]
    table, steps = content, int(rng.integers(1, 5))
    while True:
        key = list(table)[rng.integers(len(table))]
        steps -= 1
        if not steps or not isinstance(table[key], dict) or not table[key]:
            break
        table = table[key]
    change: Callable[[], Any] = (
        lambda: table.__setitem__(key, odd),
        lambda: table.pop(key),
        lambda: table.__setitem__(str(odd)[:200], odd),
        lambda: table.__setitem__(key, {key: table[key]}),
    )[rng.integers(4)]
    change()
    return yaml.safe_dump(content, allow_unicode=True).encode()


def test_parameters_with_damaged_bytes_are_refused_or_kept(tmp_path: Path, seed: int) -> None:
    load(tmp_path, mutant(WRITTEN, seed))


def test_parameters_with_an_odd_value_are_refused_or_kept(tmp_path: Path, seed: int) -> None:
    load(tmp_path, with_odd_value(seed))


@pytest.mark.parametrize("number", range(len(ODD_TEXTS)))
def test_a_text_that_a_parser_may_choke_on_is_refused(tmp_path: Path, number: int) -> None:
    for content in (ODD_TEXTS[number], WRITTEN + b"\n" + ODD_TEXTS[number]):
        load(tmp_path, content)
