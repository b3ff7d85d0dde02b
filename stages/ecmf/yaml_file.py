"""Read files of YAML that strangers may have written: bombs and odd numbers are errors."""

from pathlib import Path
from typing import Any

import yaml

from ecmf.errors import ParamsError

MAX_MESSAGE = 1000
"""Characters of a message of the YAML parser."""

MAX_VALUES = 100_000
"""Values of a whole file; nested aliases of YAML stand for billions with a few lines."""

MAX_BITS = 64
"""Bits of an integer; Python refuses to write out one of thousands of digits."""


def read_yaml(path: Path) -> Any:
    """Read a file, with the types of YAML alone.

    Raises:
        ParamsError: it is not UTF-8 or not YAML, or its values are too many or too large.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path} is not UTF-8 ({error}): save it as UTF-8") from error
    # ValueError: a date or a number that Python has none of; RecursionError: nested too deeply.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ParamsError(f"{path} is not YAML: {str(error)[:MAX_MESSAGE]}") from error
    _check_size(path, content)
    return content


def _check_size(path: Path, content: object) -> None:
    """Raise ParamsError if keys and values, with aliases written out, are too many or too large."""
    rest, values = [content], 0
    while rest:
        value = rest.pop()
        values += 1
        if values > MAX_VALUES:
            raise ParamsError(
                f"{path} has more than {MAX_VALUES:,} values, with its aliases written out: remove "
                "the aliases"
            )
        if isinstance(value, int) and value.bit_length() > MAX_BITS:
            raise ParamsError(f"{path} has an integer of more than {MAX_BITS} bits: correct it")
        rest.extend(value.values() if isinstance(value, dict) else ())
        rest.extend(value if isinstance(value, dict | list) else ())
