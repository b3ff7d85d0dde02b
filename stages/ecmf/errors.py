"""Errors a user can fix. A message names the value, the expectation, the place and the remedy.

Any exception outside this tree is a bug and keeps its traceback. Many errors of one kind are one
line with some examples (`group_by_kind`).
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

EXAMPLES = 3
"""Examples given of each kind of error."""

PARTICULARS = re.compile(r"""'[^']*'|"[^"]*"|\S*/\S*|\b[0-9a-f]{32,}\b|\d[\d.,]*""")
"""Parts that differ between messages of one kind: quoted names, paths, hashes, numbers."""


def group_by_kind(messages: Iterable[str]) -> list[list[str]]:
    """Group messages that differ only in `PARTICULARS`, in order of appearance."""
    kinds: dict[str, list[str]] = {}
    for message in messages:
        kinds.setdefault(PARTICULARS.sub("", message), []).append(message)
    return list(kinds.values())


def summarise(where: Path | str, errors: Sequence[str]) -> str:
    """Return one message for the errors found in a file or folder, with examples of each kind."""
    lines = [f"{where}: {len(errors)} error{'s' if len(errors) > 1 else ''}"]
    for alike in group_by_kind(errors):
        lines += alike[:EXAMPLES]
        if more := len(alike) - EXAMPLES:
            lines += [f"... and {more} more like these"] if more > 0 else []
    return "\n  ".join(lines)


class UserError(Exception):
    """Base of all user errors: a stage prints the message without a traceback and exits with 1."""


class ParamsError(UserError):
    """A value of `params.yaml` that cannot be used."""


class CorpusError(UserError):
    """A corpus folder or a manifest that contradicts itself or the files on disk."""


class ComparisonError(UserError):
    """Revisions that were not tested on the same clips."""


class StoreError(UserError):
    """A feature store that is broken, or rows that do not fit into it."""


class MissingFileError(UserError):
    """A file named by the user that is absent, or whose content is not the expected one."""


class DiskError(UserError):
    """A file system that is full, forbids access, grants no locks or does not answer."""


class ErrorBudgetError(UserError):
    """More clips failed than `error_budget` allows. The message lists all of them."""


class PluginError(UserError):
    """A plugin that does not keep to the interface of its family."""


class ClipError(UserError):
    """A clip that cannot be processed. The engine records the reason and continues."""
