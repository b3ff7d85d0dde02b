"""Interface of a video decoder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from ecmf.decoding.demuxer import VideoStream
from ecmf.decoding.frame_times import Timeline
from ecmf.errors import ClipError
from ecmf.execution.clip_errors import failing_one_clip
from ecmf.media import RGB, Seconds

Converted = TypeVar("Converted")


@dataclass(frozen=True)
class DecodedFrames(Generic[Converted]):
    """The sampled frames of a video, in order, each converted by the caller's function.

    `times` (converted,) are relative to the first frame of the video. `timeline` covers all decoded
    frames, also those not sampled. `damaged` of them show damaged data, or may: they are sampled
    only where no intact frame is near.
    """

    converted: list[Converted]
    times: Seconds
    timeline: Timeline
    damaged: int = 0


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


def decode_frames(
    decoder: Decoder, video: VideoStream, frames: int, convert: Callable[[RGB], Converted]
) -> DecodedFrames[Converted]:
    """Decode `video`, and check each sampled frame before it is converted.

    Raises:
        ClipError: decoding fails in any way, or a frame is no RGB image of the size of the stream.
    """

    def checked(image: RGB) -> Converted:
        _check_image(image, video.size)
        return convert(image)

    with failing_one_clip():
        return decoder(video, frames, checked)


def _check_image(image: RGB, size: tuple[int, int]) -> None:
    """Raise ClipError unless an image has three channels of 8 bits, and the size up to rotation."""
    height, width, *channels = image.shape
    if channels == [3] and image.dtype == np.uint8 and size in ((width, height), (height, width)):
        return
    raise ClipError(
        f"the decoder gives an array of shape {image.shape} and type {image.dtype} for a video of "
        f"{size[0]} x {size[1]} pixels in three colours: choose another decoder"
    )
