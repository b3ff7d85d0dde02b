"""The program may be passed on under its own licence with all of its packages."""

import licences
import pytest


def test_each_locked_package_is_permissive_or_a_known_exception() -> None:
    stated = {package: licences.licence(package) for package in licences.packages()}
    installed = {name: text for name, text in stated.items() if text != "not installed"}
    assert len(installed) > len(stated) / 2
    assert {name: text for name, text in installed.items() if not licences.is_permissive(text)} == {
        name: installed[name] for name in licences.EXCEPTIONS if name in installed
    }


def test_an_exception_is_a_locked_package() -> None:
    assert set(licences.EXCEPTIONS) <= set(licences.packages())


@pytest.mark.parametrize(
    ("stated", "permissive"),
    [
        ("Apache-2.0 OR GPL-2.0-or-later", True),
        ("MPL-2.0 AND MIT", True),
        ("MIT AND GPL-3.0-only", False),
        ("GNU Affero General Public License v3 (AGPLv3)", False),
        ("none", False),
        ("Proprietary", False),
    ],
)
def test_a_licence_is_judged_by_the_alternative_that_binds_least(
    stated: str, permissive: bool
) -> None:
    assert licences.is_permissive(stated) == permissive
