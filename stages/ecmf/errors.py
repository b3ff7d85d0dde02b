"""Mistakes a user can mend, each said as: what was got, what was expected, where, what next.

Everything that is not in this tree is a bug and keeps its traceback.
"""


class UserError(Exception):
    """Root of the tree: a stage prints it in one line and exits with 1."""


class ParamsError(UserError):
    """A value of `params.yaml` that cannot be used."""


class CorpusError(UserError):
    """A corpus folder or a manifest that contradicts itself or the files on disk."""


class StoreError(UserError):
    """A feature store that is broken, or rows that do not fit into it."""


class MissingFileError(UserError):
    """A file named by the user that is absent, or is not the file it is said to be."""


class ErrorBudgetError(UserError):
    """More clips failed than `error_budget` allows; every one of them is listed."""


class ClipError(UserError):
    """One clip that cannot be used. The engine records it with its reason and goes on."""
