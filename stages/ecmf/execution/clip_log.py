"""Log what happened to each clip: the progress bar counts, the log of a stage names."""

import logging

CLIPS = "ecmf.clips"
"""Name of the logger; its records have a `clip` and a `kind`, and are not shown on the screen."""

log = logging.getLogger(CLIPS)


def log_clip(clip_id: str, kind: str, reason: str = "") -> None:
    """Log that a clip was computed, or in which state it is, and why."""
    log.debug("%s", reason, extra={"clip": clip_id, "kind": kind})
