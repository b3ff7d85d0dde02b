"""Collect the errors that FFmpeg logs: about damaged data it often raises none."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import av
from av.logging import Capture

Message = tuple[int, str, str]
"""Level, name of FFmpeg's component (a demuxer, parser or codec), and text."""


@contextmanager
def collect_errors() -> Iterator[list[Message]]:
    """Yield a list that receives what FFmpeg logs as an error in this thread within the block."""
    level, skip_repeated = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)  # else the message of the last file is lost in this one
    try:
        with Capture() as messages:
            yield messages
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skip_repeated)


@contextmanager
def collect_stderr() -> Iterator[list[str]]:
    """Yield a list that receives, at the end of the block, the lines this process wrote to stderr.

    So the log of an FFmpeg is read that another library holds. Unlike Python, it writes to the file
    descriptor.
    """
    lines: list[str] = []
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with tempfile.TemporaryFile() as log:
            os.dup2(log.fileno(), 2)
            try:
                yield lines
            finally:
                os.dup2(stderr, 2)
                log.seek(0)
                lines += log.read().decode(errors="replace").splitlines()
    finally:
        os.close(stderr)
