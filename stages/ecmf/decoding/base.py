"""What every decoder promises."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ecmf.decoding.demuxer import Reel
from ecmf.decoding.frame_times import Timeline
from ecmf.media import RGB, Seconds


@dataclass(frozen=True)
class Footage:
    """Some frames of a video, upright and in order.

    `times` (images,) are counted from the video's first frame; `timeline` is that of all frames
    that were decoded, whether they are among `images` or not.
    """

    images: list[RGB]
    times: Seconds
    timeline: Timeline


class Decoder(Protocol):
    """The video of one file in, up to `frames` pictures of it out, uniform in time.

    Every frame is decoded, wanted or not: how much of a video is intact is known only then, and
    seeking is where decoders go wrong silently. `Timeline.uniform` says which frames are wanted,
    `pictures.shrink` makes them smaller, so members give the same pictures of an intact file.
    """

    provenance: Mapping[str, Any]

    def __call__(self, reel: Reel, frames: int, longest_side: int) -> Footage:
        """Decode `reel`; raises ClipError for one that cannot be decoded, or not be trusted."""
        ...
