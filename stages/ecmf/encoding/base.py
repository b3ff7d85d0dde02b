"""The interface of every encoder, and of those of each modality."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

from ecmf.media import RGB, Features, Pictures, Sound, Text, Vectors

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


class ImageEncoder(Encoder[Pictures], Protocol):
    """The images of a batch of clips in, rows per clip out.

    One row per image with the image's time, or fewer rows where an encoder looks at several
    images at once. Whole frames and face crops go through the same encoders.
    """


class AudioEncoder(Encoder[Sound], Protocol):
    """The waveforms of a batch of clips in, rows in time per clip out."""


class TextEncoder(Encoder[Text], Protocol):
    """The texts of a batch of clips in, one row per clip at time 0 out; none for an empty text.

    An encoder that reads the lines before a text declares `reads_before` True. Without it, the
    view `context` is refused.
    """


def per_picture(
    clips: Sequence[Pictures], row: Callable[[RGB], Vectors], dim: int
) -> list[Features]:
    """Apply `row` to every image: one row (dim,) per image, with the image's time."""
    return [
        Features(np.array([row(i) for i in clip.images], "float32").reshape(-1, dim), clip.times)
        for clip in clips
    ]
