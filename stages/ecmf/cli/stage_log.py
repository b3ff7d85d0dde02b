"""Write the log of a stage as JSON lines, `logs/<stage>.jsonl`, beside its progress bar.

    time       when, in UTC
    pid        process of the run: several runs and shards of a stage append to one file
    stage      e.g. "encode_frames@motion"
    clip       id of the clip, or ""
    kind       start or end; computed; the state of a clip (empty, flagged, failed); or the level of
               a message (info, warning, error)
    reason     why, or the message
    seconds    since the start of the run

A line is written at once as a whole, so a kill loses none that came before. The log is no output.
"""

import json
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ecmf.errors import UserError
from ecmf.execution.clip_log import CLIPS
from ecmf.storage.files import project_folder

FOLDER = "logs"
MAX_BYTES = 1 << 26
"""Size from which on a log is renamed to `.old` by the next run."""

log = logging.getLogger(__name__)


class JsonLines(logging.Handler):
    """Append every record to the log of a stage; a disk that fails ends the log, not the stage."""

    def __init__(self, path: Path, stage: str) -> None:
        super().__init__()
        self._stage, self._since, self._ended = stage, time.monotonic(), False
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and path.stat().st_size > MAX_BYTES:
            path.replace(path.with_suffix(".old"))
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        if self._ended:
            return
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "pid": record.process,
            "stage": self._stage,
            "clip": getattr(record, "clip", ""),
            "kind": getattr(record, "kind", record.levelname.lower()),
            "reason": record.getMessage(),
            "seconds": round(time.monotonic() - self._since, 3),
        }
        try:
            os.write(self._file, (json.dumps(line, ensure_ascii=False) + "\n").encode())
        except OSError as error:
            self._ended = True
            log.warning("the log ends here: %s", error)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
        super().close()


@contextmanager
def stage_log(stage: str) -> Iterator[None]:
    """Log the records of a stage to its file, from `start` to `end` with the error if any."""
    name = re.sub(r"[^\w.@-]", "_", stage)
    path = project_folder() / FOLDER / f"{name}.jsonl"
    try:
        handler = JsonLines(path, stage)
    except OSError as error:
        log.warning("no log is written: %s", error)
        yield
        return
    root, clips = logging.getLogger(), logging.getLogger(CLIPS)
    root.addHandler(handler)
    clips.addHandler(handler)
    clips.setLevel(logging.DEBUG)
    clips.propagate = False  # a line for each clip is for the file, not for the screen
    clips.debug("", extra={"kind": "start"})
    outcome = "done"
    try:
        yield
    except UserError as error:
        outcome = str(error)
        raise
    except BaseException as error:
        outcome = type(error).__name__  # its text might contain anything
        raise
    finally:
        clips.debug(outcome, extra={"kind": "end"})
        clips.setLevel(logging.NOTSET)
        clips.propagate = True
        for logger in (root, clips):
            logger.removeHandler(handler)
        handler.close()
