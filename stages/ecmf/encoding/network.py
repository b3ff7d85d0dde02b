"""Define the interface of encoders that are neural networks: clips share their batches."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ecmf.media import Features, Seconds

Clip = TypeVar("Clip")


@dataclass(frozen=True)
class Chunk:
    """The part of a clip that is one element of a batch: an image, a window of audio, a text.

    `inputs` are named arrays without the batch axis. Chunks whose inputs have the same shapes share
    a batch, so an encoder that pads does it here, to one of few lengths, and adds the padding mask.
    `unbatched` is for lengths that rarely occur twice: such a chunk is a batch of its own.
    """

    inputs: Mapping[str, NDArray[Any]]
    unbatched: bool = False


class Network(ABC, Generic[Clip]):
    """Split clips into chunks, run chunks of many clips through a network, merge them per clip.

    `split` runs in threads, ahead of the network; only `forward` uses the device. All batches of a
    shape have the same number of chunks, filled up with copies, so that the features of a clip are
    the same to the bit in any batch.

    __init__ must be fast and must raise every error that can be detected without a clip. It locates
    and hashes weights; the first batch loads them, and there is none if every clip is cached.
    """

    reads_media: ClassVar[bool] = True

    dim: int
    dtype: str = "float32"
    provenance: Mapping[str, Any]

    @abstractmethod
    def split(self, clip: Clip) -> Sequence[Chunk]:
        """Split and preprocess a clip; no chunk if it has nothing to encode.

        Raises:
            ClipError: the clip cannot be encoded.
        """

    @abstractmethod
    def forward(self, batch: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Compute one result per chunk, (chunks, ...), from inputs with a leading batch axis.

        Results are float32 (or float64), also if the network computes in half precision.
        """

    @abstractmethod
    def merge(self, clip: Clip, results: Sequence[NDArray[Any]]) -> Features:
        """Combine the results of a clip's chunks, in order, into rows; no chunk gives no row."""

    def empty_features(self) -> Features:
        """Return features without a row, for a clip that has nothing to encode."""
        return Features(np.empty((0, self.dim), self.dtype), np.empty(0))

    def features(self, values: NDArray[Any], times: Seconds) -> Features:
        """Convert rows to the stored dtype."""
        return Features(np.asarray(values, self.dtype), times)
