"""Limit the fraction of clips that may fail before the stage fails."""

import logging
from collections.abc import Mapping

from ecmf.errors import ErrorBudgetError

log = logging.getLogger(__name__)


def check_budget(failures: Mapping[str, str], clips: int, budget: float) -> None:
    """Log every failed clip with its reason; raise ErrorBudgetError if there are too many.

    `failures` maps clip id to reason; `budget` is the fraction of `clips` that may fail.
    """
    lines = [f"{clip_id}: {reason}" for clip_id, reason in failures.items()]
    if len(failures) > budget * clips:
        raise ErrorBudgetError(
            "\n  ".join(
                [
                    f"{len(failures)} of {clips} clips failed, error_budget allows {budget:.2%}. "
                    "Fix or remove these clips, or raise error_budget:",
                    *lines,
                ]
            )
        )
    for line in lines:
        log.warning("failed: %s", line)
