"""Features of the pictures made elsewhere: see `ecmf.encoders.imported`."""

from ecmf.encoding.precomputed import Encoder, Options

__all__ = ["Encoder", "Options"]
