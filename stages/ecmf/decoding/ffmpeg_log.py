"""Collect the errors that FFmpeg logs: about damaged data it often raises none."""

from collections.abc import Iterator
from contextlib import contextmanager

import av
from av.logging import Capture


@contextmanager
def collect_errors() -> Iterator[list[tuple[int, str, str]]]:
    """Yield a list that receives what FFmpeg logs as an error in this thread within the block.

    An entry is the level, the name of FFmpeg's component, and the message.
    """
    level, skip_repeated = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)  # else the message of the last file is lost in this one
    try:
        with Capture() as messages:
            yield messages
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skip_repeated)
