"""A command that is run by hand: what it says goes to stdout, a mistake to mend to stderr."""

import sys
from collections.abc import Callable

from ecmf.errors import UserError


def say(command: Callable[[], str]) -> int:
    """Run `command` and print what it returns; a UserError is one message and exit code 1."""
    try:
        said = command()
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"{said}\n")
    return 0
