"""Errors a user can fix. A message names the value, the expectation, the place and the remedy.

Any exception outside this tree is a bug and keeps its traceback.
"""


class UserError(Exception):
    """Base of all user errors: a stage prints the message without a traceback and exits with 1."""


class ParamsError(UserError):
    """A value of `params.yaml` that cannot be used."""


class CorpusError(UserError):
    """A corpus folder or a manifest that contradicts itself or the files on disk."""


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
