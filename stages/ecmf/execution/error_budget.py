"""Limit the fraction of clips that may fail before the stage fails."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from ecmf.errors import EXAMPLES, ErrorBudgetError, group_by_kind
from ecmf.storage.files import write_csv

log = logging.getLogger(__name__)


def check_budget(
    failures: Mapping[str, str], clips: int, budget: float, listing: Path | None = None
) -> None:
    """Log the failed clips, one line per kind of reason; raise if there are too many.

    Args:
        failures: Clip id -> reason.
        clips: Number of all clips.
        budget: Fraction of `clips` that may fail.
        listing: Csv file that lists every failed clip if there are too many, and is removed if not;
            without one, the error lists them all.

    Raises:
        ErrorBudgetError: too many clips failed.
    """
    too_many = len(failures) > budget * clips
    if listing is not None:
        if too_many:
            write_csv(listing, [("clip_id", "reason"), *failures.items()])
        else:
            listing.unlink(missing_ok=True)
    if too_many:
        lines = describe_kinds(failures)
        if listing is None:
            lines = (f"{clip_id}: {reason}" for clip_id, reason in failures.items())
        raise ErrorBudgetError(
            "\n  ".join(
                [
                    f"{len(failures)} of {clips} clips failed, error_budget allows {budget:.2%}. "
                    "Mend or remove these clips and index the corpus again, or raise error_budget"
                    + (f"; all are listed in {listing}:" if listing else ":"),
                    *lines,
                ]
            )
        )
    log_kinds("failed", failures)
    if failures:
        log.warning(
            "of a mended file DVC knows nothing before the corpus is indexed again: `ecmf index`"
        )


def log_kinds(state: str, reasons: Mapping[str, str]) -> None:
    """Log clips by id with their reasons as warnings, one line per kind of reason.

    All of them are listed in `metrics/coverage.csv`.
    """
    for line in describe_kinds(reasons):
        log.warning("%s: %s", state, line)


def describe_kinds(reasons: Mapping[str, str]) -> Iterator[str]:
    """Yield a line per kind of reason, with the number of clips and some of their ids."""
    clips_of: dict[str, list[str]] = {}
    for clip_id, reason in reasons.items():
        clips_of.setdefault(reason, []).append(clip_id)
    for alike in group_by_kind(clips_of):
        clips = [clip_id for reason in alike for clip_id in clips_of[reason]]
        line = f"{clips[0]}: {alike[0]}"
        if len(clips) > 1:
            more = ", ".join([*clips[1:EXAMPLES], *["..."][: len(clips) - EXAMPLES]])
            line += f" ({len(clips)} clips of this kind, also {more})"
        yield line
