"""The interface of an encoder that is a network: pieces of many clips share its batches."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ecmf.media import Features, Seconds

Item = TypeVar("Item")


@dataclass(frozen=True)
class Piece:
    """What the network sees at once of a clip: a picture, a window of sound, a text.

    `inputs` are named arrays without the axis of the batch. Pieces whose inputs have the same
    shapes share a batch, so a member that pads does it here, up to one of few lengths, and passes
    the mask along; one that must not be padded does not. `alone` is for lengths that hardly occur
    twice: such a piece is not kept waiting for others, nor filled up to a batch with copies.
    """

    inputs: Mapping[str, NDArray[Any]]
    alone: bool = False


class Network(ABC, Generic[Item]):
    """Clips are cut into pieces, pieces of many clips go through the network, and are rejoined.

    `pieces` runs in threads, ahead of the network; `forward` alone touches the device. The engine
    owns batches: every batch of one shape has the same number of pieces, filled up with copies, so
    that a clip's numbers are the same to the bit whatever clips it meets there.

    What __init__ does is quick, and finds every fault that can be found without a clip: weights are
    located and hashed, but loaded only when the first batch comes, for where every clip is in the
    cache none ever does.
    """

    needs_rows: ClassVar[bool] = True

    dim: int
    dtype: str = "float32"
    provenance: Mapping[str, Any]

    @abstractmethod
    def pieces(self, clip: Item) -> Sequence[Piece]:
        """Cut and preprocess a clip; no piece where it has nothing to encode.

        Raises:
            ClipError: the clip cannot be encoded.
        """

    @abstractmethod
    def forward(self, batch: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Inputs with the axis of the batch in front, in; one result per piece, (pieces, ...), out.

        Results are float32 (or float64), also where the network computes in half precision.
        """

    @abstractmethod
    def join(self, clip: Item, results: Sequence[NDArray[Any]]) -> Features:
        """Make the rows of a clip of the results of its pieces, in their order; none for none."""

    def no_features(self) -> Features:
        """What a clip gets that has nothing to encode: no row."""
        return Features(np.empty((0, self.dim), self.dtype), np.empty(0))

    def features(self, values: NDArray[Any], times: Seconds) -> Features:
        """Rows in the dtype that is stored."""
        return Features(np.asarray(values, self.dtype), times)
