"""What every encoder of pictures promises."""

from typing import Protocol

from ecmf.encoders import base
from ecmf.media import Pictures


class Encoder(base.Encoder[Pictures], Protocol):
    """The pictures of a batch of clips in, rows per clip out.

    One row per picture with the picture's time, or fewer rows where an encoder looks at several
    pictures at once. Whole frames and face crops go through the same members.
    """
