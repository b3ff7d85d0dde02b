"""Interface of a video decoder."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ecmf.decoding.demuxer import VideoStream
from ecmf.decoding.frame_times import Timeline
from ecmf.media import RGB, Seconds


@dataclass(frozen=True)
class DecodedFrames:
    """The chosen frames of a video, upright and in order.

    `times` (images,) are counted from the video's first frame. `timeline` covers all decoded
    frames, chosen or not.
    """

    images: list[RGB]
    times: Seconds
    timeline: Timeline


class Decoder(Protocol):
    """Decode up to `frames` images of a video stream, uniform in time.

    Every frame is decoded, chosen or not: only then is it known how much of a video is intact, and
    seeking is where decoders go wrong silently. `Timeline.sample_uniformly` chooses the frames and
    `jpeg.downscale` resizes them, so all decoders return the same images of an intact file.
    """

    provenance: Mapping[str, Any]

    def __call__(self, video: VideoStream, frames: int, longest_side: int) -> DecodedFrames:
        """Decode `video`; raises ClipError if that fails or the frames cannot be trusted."""
        ...
