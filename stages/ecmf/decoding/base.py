"""Interface of a video decoder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from ecmf.decoding.demuxer import VideoStream
from ecmf.decoding.frame_times import Timeline
from ecmf.media import RGB, Seconds

Converted = TypeVar("Converted")


@dataclass(frozen=True)
class DecodedFrames(Generic[Converted]):
    """The sampled frames of a video, in order, each converted by the caller's function.

    `times` (converted,) are relative to the first frame of the video. `timeline` covers all decoded
    frames, also those not sampled.
    """

    converted: list[Converted]
    times: Seconds
    timeline: Timeline


class Decoder(Protocol):
    """Decode up to `frames` images of a video stream, uniform in time.

    Every frame is decoded, because this shows how much of a video is intact, and because decoders
    make silent errors in seeking. `Timeline.sample_uniformly` samples the frames, so all decoders
    return the same images of an intact file.
    """

    provenance: Mapping[str, Any]

    def __call__(
        self, video: VideoStream, frames: int, convert: Callable[[RGB], Converted]
    ) -> DecodedFrames[Converted]:
        """Decode `video`; raises ClipError if that fails or the frames cannot be trusted.

        `convert` is called with each sampled frame, upright and of the file's own size, as soon as
        it is decoded: all frames of a large video at once would not fit in memory.
        """
        ...
