"""What every encoder of the voice promises."""

from typing import Protocol

from ecmf.encoders import base
from ecmf.media import Sound


class Encoder(base.Encoder[Sound], Protocol):
    """The waveforms of a batch of clips in, rows in time per clip out."""
