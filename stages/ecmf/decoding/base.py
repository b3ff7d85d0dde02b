"""Interface of a video decoder."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ecmf.decoding.demuxer import VideoStream
from ecmf.decoding.frame_times import Timeline
from ecmf.media import RGB, Seconds


@dataclass(frozen=True)
class DecodedFrames:
    """The sampled frames of a video, upright and in order.

    `times` (images,) are relative to the first frame of the video. `timeline` covers all decoded
    frames, also those not sampled.
    """

    images: list[RGB]
    times: Seconds
    timeline: Timeline


class Decoder(Protocol):
    """Decode up to `frames` images of a video stream, uniform in time.

    Every frame is decoded, because this shows how much of a video is intact, and because decoders
    make silent errors in seeking. `Timeline.sample_uniformly` samples the frames and
    `jpeg.downscale` resizes them, so all decoders return the same images of an intact file.
    """

    provenance: Mapping[str, Any]

    def __call__(self, video: VideoStream, frames: int, longest_side: int) -> DecodedFrames:
        """Decode `video`; raises ClipError if that fails or the frames cannot be trusted."""
        ...
