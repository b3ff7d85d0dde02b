"""Precomputed features, looked up by clip id: see `ecmf.encoding.precomputed`."""

from ecmf.encoding.precomputed import Encoder, Options

__all__ = ["Encoder", "Options"]
