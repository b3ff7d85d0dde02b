"""Turn an exception that a library raises for one clip into the failure of that clip.

Decoders, OpenCV and the libraries of encoders raise what they like for odd content. In a stage of
days one such clip must cost one clip; a defect of the program fails all clips, and the error budget
stops the stage.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ecmf.errors import ClipError, UserError


def as_clip_error(error: Exception) -> ClipError:
    """Return a ClipError with the type, the first line and the place of an exception.

    Raises:
        UserError: `error` is one that concerns more than a clip, e.g. a wrong parameter.
    """
    if isinstance(error, ClipError):
        return error
    if isinstance(error, UserError):
        raise error
    message = next(iter(str(error).strip().splitlines()), "without a message")
    place = traceback.extract_tb(error.__traceback__)[-1]
    return ClipError(
        f"{type(error).__name__}: {message} ({Path(place.filename).name}, line {place.lineno})"
    )


@contextmanager
def failing_one_clip() -> Iterator[None]:
    """Raise every exception of the block as the failure of one clip (`as_clip_error`)."""
    try:
        yield
    except Exception as error:
        clip_error = as_clip_error(error)
        if clip_error is error:
            raise
        raise clip_error from error
