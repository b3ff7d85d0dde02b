"""Describe the options of a plugin, and write the overrides of DVC that select it."""

import json
import re
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal, Union

from pydantic.fields import FieldInfo

from ecmf import registry
from ecmf.cli.plugin_catalogue import Family, Parameter
from ecmf.config import Section

FILL_IN = "…"
"""Stands for a value that the user supplies."""

HEADER = ("name", "type", "default", "description")

LONGEST = 85
"""Longest override; a longer entry of a table is written option by option."""

NEW_ENTRY = "mine"
"""Name of the encoder in its table."""

PLAIN = re.compile(r"[A-Za-z][\w-]*")
"""Text that needs no quotes in an override."""


def rows(model: type[Section]) -> Iterator[tuple[str, str, str, str]]:
    """Yield name, type, default and description of each option; a required one has no default."""
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else as_yaml(_default(field))
        yield name, type_name(field.annotation), default, field.description or ""


def type_name(annotation: Any) -> str:
    """Name a type by the values that YAML has for it, e.g. "int | null" or "list of float"."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_name(arguments[0])
    if origin in (Union, types.UnionType):
        return " | ".join(map(type_name, arguments))
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (tuple, list):
        return f"list of {type_name(arguments[0])}"
    if annotation in (None, types.NoneType):
        return "null"
    return "table" if origin is dict else str(getattr(annotation, "__name__", annotation))


def as_yaml(value: Any) -> str:
    """Write a default as in `params.yaml`."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(as_yaml, value))}]"
    if isinstance(value, str) and PLAIN.fullmatch(value):
        return value
    return json.dumps(value)


def overrides(family: Family, name: str) -> list[list[str]]:
    """Return the arguments of `dvc exp run` that choose a plugin, for each place it can stand.

    FILL_IN stands for the options without which it cannot be built.
    """
    model = registry.options_model(family.package, name)
    given = dict.fromkeys(_to_fill_in(model), FILL_IN)
    return [_overrides(parameter, name, given) for parameter in _selectors(family)]


def examples(family: Family, name: str) -> list[str]:
    """Return the argument that sets an option to its default, for each place of `overrides`."""
    for key, field in registry.options_model(family.package, name).model_fields.items():
        default = None if field.is_required() else _default(field)
        if isinstance(default, int | float) or PLAIN.fullmatch(str(default or "")):
            setting = f"{key}={as_yaml(default)}"
            return [f"-S '{_place(p, name)}.{setting}'" for p in _selectors(family)]
    return []


def _selectors(family: Family) -> list[Parameter]:
    found = [p for p in family.parameters if p.is_table or p.takes_options]
    return found or list(family.parameters[:1])


def _place(parameter: Parameter, name: str) -> str:
    """Return the key of a plugin's options; `++` adds a key or changes it."""
    if parameter.is_table:
        return f"++{parameter}.{NEW_ENTRY}"
    return f"++{parameter.section}.options.{name}"


def _overrides(parameter: Parameter, name: str, options: dict[str, str]) -> list[str]:
    place = _place(parameter, name)
    if not parameter.is_table:
        # a key that has a default and no options need not be in params.yaml, so `++` adds it
        chosen = f"-S {parameter}={name}" if parameter.takes_options else f"-S ++{parameter}={name}"
        return [chosen, *(f"-S '{place}.{key}={text}'" for key, text in options.items())]
    entry = {"encoder": name, **options}
    whole = f"-S '{place}={{{', '.join(f'{key}: {text}' for key, text in entry.items())}}}'"
    if len(whole) <= LONGEST:
        return [whole]
    return [f"-S '{place}.{key}={text}'" for key, text in entry.items()]


def _to_fill_in(model: type[Section]) -> list[str]:
    """List the options without which a plugin cannot be built."""
    if "repository" in model.model_fields:  # in place of a folder, which needs a hash
        return ["repository"]
    return [
        name
        for name, field in model.model_fields.items()
        if field.is_required() or name.endswith("sha256")
    ]


def _default(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True, validated_data={})
