"""List the licences of the locked packages, as the installed packages state them.

`python tests/support/licences.py`, or `make licences`. A package is permissive if a licence of
PERMISSIVE suffices to use it; every other one is an exception with its reason.
"""

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

LOCKS = [Path(__file__).parents[2] / f"requirements{name}.lock" for name in ("", "-test")]

PERMISSIVE = (
    "0BSD", "Apache", "Boost", "BSD", "CNRI-Python", "ISC", "MIT", "PSF-2.0",
    "Python Software Foundation", "Zope",
)  # fmt: skip

WEAK = ("MPL-2.0", "Mozilla")
"""Copyleft of the file: it binds who changes the package, not who uses it."""

COPYLEFT = ("GPL", "EPL", "CDDL", "EUPL", "OSL", "SSPL", "CC-BY")

EXCEPTIONS = {
    "soxr": "LGPL-2.1, a library of its own that can be exchanged",
    "pygit2": "GPL-2.0 with an exception for linking; of DVC",
    "grandalf": "GPL-2.0 or EPL-1.0, at choice; of DVC, for `dvc dag`",
    "asyncssh": "EPL-2.0 or GPL-2.0, at choice; of DVC, for remotes of ssh",
    "espeakng-loader": "states none; eSpeak NG is GPL-3.0; only the sample speaks with it",
    "pympi-ling": "states none; MIT by its licence file",
    "insightface": "states none; MIT by its repository, without the weights",
}
"""Packages beyond these licences, and why they may be used."""


def packages() -> list[str]:
    """Return the names of all packages in the lock files."""
    lines = [line for lock in LOCKS for line in lock.read_text().splitlines()]
    return [name for line in lines if (name := re.split(r"[=\[ ;#]", line)[0])]


def licence(package: str) -> str:
    """Return the licence that a package states, "none", or "not installed"."""
    try:
        stated = metadata(package)
    except PackageNotFoundError:
        return "not installed"
    classifiers = [
        text.split(" :: ")[-1]
        for text in stated.get_all("Classifier") or ()
        if text.startswith("License :: ")
    ]
    free_text = (stated.get("License") or "").strip().partition("\n")[0]
    return stated.get("License-Expression") or "; ".join(classifiers) or free_text or "none"


def is_permissive(stated: str) -> bool:
    """Return whether one of the alternatives has neither copyleft nor an unknown licence."""
    return any(
        any(name in alternative for name in (*PERMISSIVE, *WEAK))
        and not any(name in alternative for name in COPYLEFT)
        for alternative in stated.split(" OR ")
    )


if __name__ == "__main__":
    for name in sorted(packages(), key=str.lower):
        print(f"{name:30} {licence(name)}", EXCEPTIONS.get(name, ""), sep="  ")  # noqa: T201
