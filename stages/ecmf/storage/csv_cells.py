"""Write texts of strangers into csv so that a spreadsheet shows them and does not run them.

A cell that begins with `=`, `+`, `-` or `@` is a formula to a spreadsheet, and one such as
`=HYPERLINK(...)` sends what stands in other cells to a server. An apostrophe before it makes it
text (OWASP, CSV Injection); `restore` takes it away again.
"""

import re

FORMULA = re.compile("'*[=+@\uff1d\uff0b\uff0d\uff20\t\r-]")
"""Start of a formula, also in full-width characters, and of one that already has apostrophes."""


def neutralise(cell: object) -> object:
    """Put an apostrophe before a text that a spreadsheet would run; leave numbers as they are."""
    if isinstance(cell, str) and FORMULA.match(cell) and not is_number(cell):
        return f"'{cell}"
    return cell


def restore(cell: str) -> str:
    """Return the text that `neutralise` was given."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def is_number(text: str) -> bool:
    """Return whether `text` is a finite number."""
    try:
        return abs(float(text)) < float("inf")
    except ValueError:
        return False
