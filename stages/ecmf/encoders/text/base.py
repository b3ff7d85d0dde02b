"""What every encoder of text promises."""

from typing import Protocol

from ecmf.encoders import base
from ecmf.media import Text


class Encoder(base.Encoder[Text], Protocol):
    """The texts of a batch of clips in, one row per clip at time 0 out; none for an empty text.

    A member that heeds the lines before a text says so: `reads_before` is True. Without it, the
    view `context` is refused.
    """
