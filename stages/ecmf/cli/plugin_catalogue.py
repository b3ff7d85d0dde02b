"""Find all families of plugins, their plugins, and the parameters that select them, in the code.

Nothing is imported but the parameters: docstrings and constants are read from the files.
"""

import ast
import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard, get_args

from pydantic import AfterValidator

from ecmf import registry
from ecmf.errors import ParamsError
from ecmf.execution.code_fingerprint import STAGES, file_of
from ecmf.params import Choice, Params, PluginOf


@dataclass(frozen=True)
class Parameter:
    """A parameter that selects plugins, e.g. `train_fusion.model`.

    `takes_options` is true if `<section>.options` holds the options of the plugin it selects;
    `is_table` if the parameter is a table of plugins, each with its options.
    """

    section: str
    key: str
    is_table: bool
    takes_options: bool

    def __str__(self) -> str:
        """Return the key as in an override of DVC."""
        return f"{self.section}.{self.key}"


@dataclass(frozen=True)
class Family:
    """A package whose modules are plugins, e.g. `encoders.image`, called `image` by users."""

    package: str
    summary: str
    parameters: tuple[Parameter, ...]

    @property
    def name(self) -> str:
        """Last part of the package's name."""
        return self.package.rpartition(".")[2]


@dataclass(frozen=True)
class Plugin:
    """The constants and the summary in a plugin's file."""

    name: str
    summary: str
    needs: str
    weights_licence: str
    languages: tuple[str, ...]
    gated: bool
    order_aware: bool


def find_family(name: str) -> Family:
    """Look up a family by `image`, `encoders.image` or `encoders/image`; raises ParamsError."""
    found = families()
    for family in found:
        if name.replace("/", ".") in (family.name, family.package):
            return family
    names = [family.name for family in found]
    raise ParamsError(
        f"no family {name!r}: choose one of {', '.join(names)}."
        + registry.did_you_mean(name, [*names, *(family.package for family in found)])
    )


def families() -> list[Family]:
    """Return all families, sorted by name.

    A package is a family if a parameter selects its modules, or if they all define one class of the
    same name, their interface.
    """
    chosen = parameters()
    packages = {
        ".".join(init.parent.relative_to(STAGES / "ecmf").parts): init
        for init in (STAGES / "ecmf").rglob("__init__.py")
    }
    found = [
        Family(package, _summary(_tree(init)), tuple(chosen[package]))
        for package, init in packages.items()
        if package in chosen or (package and _share_an_interface(package))
    ]
    return sorted(found, key=lambda family: family.package)


def plugin(package: str, name: str) -> Plugin:
    """Read what a plugin's file states about it."""
    tree = _tree(file_of(f"ecmf.{package}.{name}"))
    constants = dict(_constants(tree))
    return Plugin(
        name,
        _summary(tree) or next((_summary(node) for node in _functions(tree, name)), ""),
        str(constants.get("NEEDS", "")),
        str(constants.get("WEIGHTS_LICENCE", "")),
        constants.get("LANGUAGES", ()),
        constants.get("gated") is True,
        constants.get("order_aware") is True,
    )


def parameters() -> dict[str, list[Parameter]]:
    """Map each family to the parameters that select its plugins; those with options come first."""
    found: dict[str, list[Parameter]] = defaultdict(list)
    for section, field in Params.model_fields.items():
        plugin_key = getattr(field.annotation, "plugin_key", None)
        for key, inner in getattr(field.annotation, "model_fields", {}).items():
            for family, is_table in (*_selected(inner.metadata), *_families_in(inner.annotation)):
                found[family].append(Parameter(section, key, is_table, key == plugin_key))
    for of_family in found.values():
        of_family.sort(key=lambda parameter: not parameter.takes_options)
    return found


def _selected(metadata: Iterable[Any]) -> Iterator[tuple[str, bool]]:
    for meta in metadata:
        if isinstance(meta, AfterValidator) and isinstance(meta.func, PluginOf):
            yield meta.func.family, False


def _families_in(annotation: Any) -> Iterator[tuple[str, bool]]:
    """Yield the families whose names an annotation accepts, and whether as entries of a table."""
    yield from _selected(getattr(annotation, "__metadata__", ()))
    if isinstance(annotation, type) and issubclass(annotation, Choice):
        for family, _ in _selected(annotation.model_fields["encoder"].metadata):
            yield family, True
    for argument in get_args(annotation):
        yield from _families_in(argument)


def _share_an_interface(package: str) -> bool:
    names = registry.names(package)
    trees = {name: _tree(file_of(f"ecmf.{package}.{name}")) for name in names}
    classes = [
        {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
        for name, tree in trees.items()
        if not any(_functions(tree, name))
    ]
    return len(classes) > 1 and bool(set.intersection(*classes) - {"Options"})


@functools.cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _functions(tree: ast.Module, name: str) -> Iterator[ast.FunctionDef]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == name and node.decorator_list:
            yield node


def _summary(node: ast.Module | ast.FunctionDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0]


def _constants(tree: ast.Module) -> Iterator[tuple[str, Any]]:
    """Yield the literals assigned in a module and in the bodies of its classes."""
    bodies = [tree.body, *(node.body for node in tree.body if isinstance(node, ast.ClassDef))]
    for node in (line for body in bodies for line in body):
        value = getattr(node, "value", None)
        if isinstance(node, ast.Assign | ast.AnnAssign) and _is_literal(value):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            constant = ast.literal_eval(value)
            yield from ((t.id, constant) for t in targets if isinstance(t, ast.Name))


def _is_literal(value: ast.expr | None) -> TypeGuard[ast.expr]:
    """Return whether a value is a constant, or a tuple of constants."""
    parts = value.elts if isinstance(value, ast.Tuple) else [value]
    return all(isinstance(part, ast.Constant) for part in parts)
