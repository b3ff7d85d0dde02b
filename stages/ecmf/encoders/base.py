"""What every encoder promises, whatever its branch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ecmf.media import Seconds

Vectors = NDArray[np.float32]
"""Rows of features, (rows, dim); float16 where a network computes in half precision."""


@dataclass(frozen=True)
class Features:
    """What an encoder says of one clip: `values` (rows, dim), and the `times` (rows,) of each.

    No row at all where the clip gives nothing to encode, never a row of zeros.
    """

    values: Vectors
    times: Seconds


Item = TypeVar("Item", contravariant=True)


class Encoder(Protocol[Item]):
    """A batch of clips in, the features of each out; they do not depend on the other clips.

    `dim` is the width of a row. `provenance` is everything beyond the options that fixes the
    numbers: hash of the weights, resolved revision, versions that matter, names of the columns.
    The engine owns files, progress, caches, processes and batches: what has no weights runs as a
    copy in every worker process, a `network.Network` in one, with all threads or the GPU.
    """

    needs_rows: ClassVar[bool]
    """False only for a member that looks features up by clip id: it sees empty clips too."""

    dim: int
    provenance: Mapping[str, Any]

    def __call__(self, clips: Sequence[Item]) -> list[Features]:
        """Encode `clips`; raises ClipError for one that cannot be encoded."""
        ...
