"""Precomputed features, looked up by clip id: see `ecmf.encoding.precomputed`."""

from ecmf.encoding.precomputed import Encoder, Options

WEIGHTS_LICENCE = "that of the encoder of the features"
NEEDS = "a file of features, e.g. from `ecmf import`"

__all__ = ["Encoder", "Options"]
