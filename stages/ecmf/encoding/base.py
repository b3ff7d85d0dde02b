"""Define the interface of encoders."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

from ecmf.media import RGB, Features, Images, Vectors

Clip = TypeVar("Clip", contravariant=True)


class Encoder(Protocol[Clip]):
    """Compute the features of a batch of clips, each independently of the other clips.

    `dim` is the width of a row. `provenance` is everything beside the options that determines the
    values: hash of the weights, resolved revision, package versions, names of the columns.

    Image encoders return one row per image with the image's time, or fewer rows if several images
    are encoded together; whole frames and face crops have the same encoders. Audio encoders return
    rows in time. Text encoders return one row at time 0, or one per token at the position of the
    token, or none for an empty text. Only a text encoder whose attribute `supports_context` is True
    can have the view `context`. One that gives several rows states the most as `rows_at_most`.

    Files, progress, caches, processes and batches are left to the engine. An encoder without
    weights is copied into every worker process; a `network.Network` runs in one process, with all
    threads or the GPU.
    """

    reads_media: ClassVar[bool]
    """False only for an encoder that looks up features by clip id; it also receives empty clips.

    If such an encoder of text has an attribute `reads_records`, it is built with the records of
    `enrich_text` after its options.
    """

    dim: int
    provenance: Mapping[str, Any]

    def __call__(self, clips: Sequence[Clip]) -> list[Features]:
        """Encode `clips`; raises ClipError for a clip that cannot be encoded."""
        ...


def has_visible_character(text: str) -> bool:
    """Return whether there is anything to encode in a text: more than spaces and control signs."""
    return any(sign.isprintable() and not sign.isspace() for sign in text)


def encode_each_image(
    clips: Sequence[Images], encode: Callable[[RGB], Vectors], dim: int
) -> list[Features]:
    """Apply `encode` to every image: one row (dim,) per image, with the image's time."""
    return [
        Features(np.array([encode(i) for i in clip.images], "float32").reshape(-1, dim), clip.times)
        for clip in clips
    ]
