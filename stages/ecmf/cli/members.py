"""Show the plugins that can be chosen, their options, needs and licences: `ecmf members`."""

import re
from collections.abc import Iterable, Sequence
from inspect import cleandoc
from itertools import zip_longest
from textwrap import shorten, wrap

import click

from ecmf import registry
from ecmf.cli import plugin_options
from ecmf.cli.command import Command
from ecmf.cli.plugin_catalogue import Family, Plugin, families, find_family, plugin
from ecmf.config import Section
from ecmf.execution.packages import Package, packages_of_plugin

WIDTH = 100
"""Columns of the output."""

COMMANDS = {
    "corpora": ("ecmf index {name} data/raw/{name}", "dvc exp run -S corpus={name}"),
    "feature_formats": ("ecmf import {name} <path> data/manifests/<corpus>.csv data/imported",),
}
"""Commands that choose a plugin where no parameter selects it."""

WIDEST = 22
"""Largest width of a column of the table of options, before the descriptions."""

GATED = "gated: its clips and labels may not be redistributed"

FUSION = "fusion"

ORDER_AWARE = "reads the steps of a source in their order: for sequences, not one row per clip"

COPYLEFT = re.compile(r"\b[AL]?GPL")


def list_families() -> str:
    """Describe each family: its purpose, its plugins, and what selects one."""
    lines = []
    for family in families():
        selected_by = ", ".join(map(str, family.parameters)) or COMMANDS[family.name][0].format(
            name="<name>"
        )
        names = ", ".join(registry.names(family.package))
        for number, text in enumerate((family.summary, names, f"chosen by {selected_by}")):
            lines += _table([("" if number else family.name, text)], [17])
    lines.append("\n`ecmf members <family>` describes each, `ecmf members <family> <name>` one.")
    return "\n".join(lines)


def list_plugins(family: Family) -> str:
    """Return a line per plugin, and below it what it needs, and licences with conditions."""
    names = registry.names(family.package)
    width = max(map(len, names)) + 2
    lines = []
    for name in names:
        found = plugin(family.package, name)
        lines += _table([(name, shorten(found.summary, WIDTH - width, placeholder=" …"))], [width])
        conditions = _conditions(found, packages_of_plugin(family.package, name))
        conditions += _idle(family, name)
        lines += _table([("", condition) for condition in conditions], [width])
    return "\n".join(lines)


def describe(family: Family, name: str) -> str:
    """Describe a plugin: docstring, options, needs, licences, and how to choose it."""
    module = registry.load(family.package, name)
    model = registry.options_model(family.package, name)
    found = plugin(family.package, name)
    sections = {
        "": [cleandoc(module.__doc__ or found.summary)],
        "Options:\n": _options(model),
        "Needs:\n": _needs(found, packages_of_plugin(family.package, name)),
        "Sequences:\n": _idle(family, name),
        "Choose it:\n": _choose(family, name),
        "Set an option, beside it:\n": plugin_options.examples(family, name),
    }
    return "\n\n".join(title + "\n".join(lines) for title, lines in sections.items() if lines)


def _conditions(found: Plugin, packages: Iterable[Package]) -> list[str]:
    return [
        *([f"needs: {found.needs}"] if found.needs else []),
        *([f"weights: {found.weights_licence}"] if found.weights_licence else []),
        *_languages(found),
        *([GATED] if found.gated else []),
        *([ORDER_AWARE] if found.order_aware else []),
        *(f"{p.name}: {p.licence}" for p in packages if COPYLEFT.search(p.licence)),
    ]


def _languages(found: Plugin) -> list[str]:
    return [f"reads only the languages: {', '.join(found.languages)}"] if found.languages else []


def _idle(family: Family, name: str) -> list[str]:
    if family.package != FUSION:
        return []
    from ecmf.cli.idle_share import describe_idle_share  # imports torch, which no other list needs

    return [describe_idle_share(name)]


def _options(model: type[Section]) -> list[str]:
    rows = [plugin_options.HEADER, *plugin_options.rows(model)]
    if len(rows) == 1:
        return []
    columns = list(zip(*rows, strict=True))[:-1]
    widths = [min(max(map(len, column)), WIDEST) + 2 for column in columns]
    return [f"{cleandoc(model.__doc__ or '')}\n", *_table(rows, widths)]


def _needs(found: Plugin, packages: Iterable[Package]) -> list[str]:
    rows = [(f"{package.name} {package.version}", package.licence) for package in packages]
    if found.weights_licence:
        rows.insert(0, ("weights", found.weights_licence))
    width = max((len(name) for name, _ in rows), default=0) + 2
    supplied = [found.needs] if found.needs else []
    conditions = [
        *_languages(found),
        *([GATED] if found.gated else []),
        *([ORDER_AWARE] if found.order_aware else []),
    ]
    stated = [*supplied, *conditions, *_table(rows, [width])]
    return stated or ["no package of its own"]


def _choose(family: Family, name: str) -> list[str]:
    if not family.parameters:
        return [command.format(name=name) for command in COMMANDS[family.name]]
    lines = []
    for overrides in plugin_options.overrides(family, name):
        words = ["dvc exp run", *overrides]
        line = " ".join(words)
        lines.append(line if len(line) <= WIDTH else " \\\n  ".join(words))
    return lines


def _table(rows: Iterable[Sequence[str]], widths: Sequence[int]) -> list[str]:
    """Align columns of these widths, and wrap the cells; the last column takes the rest."""
    every = [*widths, WIDTH - sum(widths) + 1]
    lines = []
    for row in rows:
        cells = [wrap(cell, width - 1) or [""] for cell, width in zip(row, every, strict=True)]
        for parts in zip_longest(*cells, fillvalue=""):
            line = "".join(part.ljust(width) for part, width in zip(parts, every, strict=True))
            lines.append(line.rstrip())
    return lines


@click.command("members", cls=Command)
@click.argument("family", required=False)
@click.argument("name", required=False)
def command(family: str | None, name: str | None) -> str:
    """List the families of plugins, the plugins of a FAMILY, or the options of a plugin NAME.

    Parameters of a fusion are idle if they get no gradient. Their share is measured with default
    options and sources of 256 numbers a row; a training logs that of its own sources.

    \b
    Example:
      ecmf members fusion mult
    """  # noqa: D301
    if family is None:
        return list_families()
    found = find_family(family)
    return list_plugins(found) if name is None else describe(found, name)
