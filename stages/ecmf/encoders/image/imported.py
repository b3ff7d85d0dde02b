"""Features of the pictures made elsewhere: see `ecmf.encoders.imported`."""

from ecmf.encoders.imported import Encoder, Options

__all__ = ["Encoder", "Options"]
