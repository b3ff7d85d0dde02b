"""Decode with FFmpeg through PyAV: every format of FFmpeg, and the intact frames of a damaged file.

After a packet that cannot be decoded, the frames up to the next key frame would be distorted: they
are left out.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import av
import numpy as np

from ecmf.config import Section
from ecmf.decoding.base import Converted, DecodedFrames
from ecmf.decoding.demuxer import VideoStream
from ecmf.decoding.frame_times import Timeline
from ecmf.errors import ClipError
from ecmf.media import RGB


class Options(Section):
    """No options."""


class Decoder:
    """Decode the packets of a video one after the other, in one thread."""

    def __init__(self, options: Options) -> None:
        self.provenance: Mapping[str, Any] = {"ffmpeg": av.ffmpeg_version_info}

    def __call__(
        self, video: VideoStream, frames: int, convert: Callable[[RGB], Converted]
    ) -> DecodedFrames[Converted]:
        """Decode the video; if frames are missing, decode it again and sample the others."""
        video.stream.thread_type = "NONE"  # frame threads end a truncated file without an error
        converted, timeline = _decode(video, video.timeline, frames, convert)
        if not np.array_equal(timeline.pts, video.timeline.pts):
            converted, timeline = _decode(video, timeline, frames, convert)
        pts = np.array(list(converted), "int64")
        times = (pts - timeline.pts[0]) * timeline.time_base
        return DecodedFrames(list(converted.values()), times, timeline)


def _decode(
    video: VideoStream, expected: Timeline, frames: int, convert: Callable[[RGB], Converted]
) -> tuple[dict[int, Converted], Timeline]:
    """Decode all frames; return those sampled from `expected`, by pts, and the timeline."""
    wanted = set(expected.pts[expected.sample_uniformly(frames)].tolist())
    converted: dict[int, Converted] = {}
    pts = []
    for frame in _frames(video):
        pts.append(frame.pts)
        if frame.pts in wanted and frame.pts not in converted:
            converted[frame.pts] = convert(_upright(frame, video.size))
    if not pts:
        raise ClipError(f"none of its {video.declared_frames} frames can be decoded")
    return converted, Timeline(
        np.sort(np.array(pts, "int64")), expected.time_base, expected.last_duration
    )


def _frames(video: VideoStream) -> Iterator[av.VideoFrame]:
    decoder = video.stream.codec_context
    broken = False
    for packet in [*video.packets, None]:  # None flushes the frames in the codec
        if packet is not None:
            broken = packet.is_corrupt or (broken and not packet.is_keyframe)
            if broken:
                continue
        try:
            decoded = decoder.decode(packet)
        except av.FFmpegError:
            broken = True
            continue
        yield from (frame for frame in decoded if frame.pts is not None)
    decoder.flush_buffers()


def _upright(frame: av.VideoFrame, size: tuple[int, int]) -> RGB:
    """Return a frame as RGB, upright; after a change of resolution it is scaled back to `size`."""
    width, height = size
    image = frame.to_ndarray(format="rgb24", width=width, height=height)
    upright: RGB = np.rot90(image, round(frame.rotation / 90))
    return np.ascontiguousarray(upright)
