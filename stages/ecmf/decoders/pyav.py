"""Decode with FFmpeg through PyAV: every format of FFmpeg, and the intact frames of a damaged file.

After a packet that cannot be decoded, the frames up to the next key frame would be distorted: they
are left out. After one that FFmpeg decodes with an error (it conceals what is lost), they may be
distorted: an intact neighbour is preferred.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic

import av
import numpy as np

from ecmf.config import Section
from ecmf.decoding import ffmpeg_log
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
        """Decode the video; if frames are lost or damaged, decode again and sample the others."""
        chosen = video.timeline.sample_uniformly(frames)
        decoding = _decode(video, set(video.timeline.pts[chosen].tolist()), convert)
        lost = not np.array_equal(decoding.timeline(video).pts, video.timeline.pts)
        if lost or decoding.damaged & set(decoding.converted):
            decoding = _decode(video, decoding.sample_again(video, frames), convert)
        timeline = decoding.timeline(video)
        pts = np.array(sorted(decoding.converted), "int64")  # damage can change their order
        times = (pts - timeline.pts[0]) * timeline.time_base
        return DecodedFrames(
            [decoding.converted[each] for each in pts.tolist()],
            times,
            timeline,
            len(decoding.damaged),
        )


@dataclass(frozen=True)
class _Decoding(Generic[Converted]):
    """The timestamps of all frames and of the damaged ones; the sampled frames by timestamp."""

    pts: list[int]
    damaged: set[int]
    converted: dict[int, Converted]

    def timeline(self, video: VideoStream) -> Timeline:
        return replace(video.timeline, pts=np.sort(np.array(self.pts, "int64")))

    def sample_again(self, video: VideoStream, frames: int) -> set[int]:
        """Sample the decoded frames; an intact one within an interval replaces a damaged one."""
        timeline = self.timeline(video)
        chosen = timeline.sample_uniformly(frames)
        intact = np.flatnonzero([pts not in self.damaged for pts in timeline.pts.tolist()])
        if len(intact):
            distances = np.abs(timeline.times[intact] - timeline.times[chosen, None])
            near = distances.min(axis=1) <= timeline.seconds / frames
            chosen = np.where(near, intact[distances.argmin(axis=1)], chosen)
        return set(timeline.pts[chosen].tolist())


def _decode(
    video: VideoStream, wanted: set[int], convert: Callable[[RGB], Converted]
) -> _Decoding[Converted]:
    """Decode all frames, and convert those with the timestamps `wanted`."""
    decoding: _Decoding[Converted] = _Decoding([], set(), {})
    for frame, damaged in _frames(video):
        decoding.pts.append(frame.pts)
        if damaged:
            decoding.damaged.add(frame.pts)
        if frame.pts in wanted and frame.pts not in decoding.converted:
            decoding.converted[frame.pts] = convert(_upright(frame, video.size))
    if not decoding.pts:
        raise ClipError(f"none of its {video.declared_frames} frames can be decoded")
    return decoding


def _frames(video: VideoStream) -> Iterator[tuple[av.VideoFrame, bool]]:
    """Yield every frame of the piece that can be decoded, and whether it is damaged.

    FFmpeg reports damage by an error, which loses the frame, by its log, or by `is_corrupt`. The
    packets after a damaged one up to the next key frame depend on it.
    """
    lost = concealed = False
    damaged: set[int | None] = set()  # by timestamp: frames come later than their packets
    with ffmpeg_log.collect_errors() as messages, video.reopen() as (decoder, packets):
        decoder.thread_type = "NONE"  # frame threads end a truncated file without an error
        for packet in itertools.chain(packets, [None]):  # None flushes the frames in the codec
            if packet is not None:
                lost = packet.is_corrupt or (lost and not packet.is_keyframe)
                concealed = concealed and not packet.is_keyframe
                if lost:
                    continue
            messages.clear()
            try:
                decoded = decoder.decode(packet)
            except av.FFmpegError:
                lost = True
                continue
            concealed = concealed or bool(messages)
            if concealed and packet is not None:
                damaged.add(packet.pts)
            for frame in decoded:
                if frame.pts is not None and frame.pts in video.span:
                    yield frame, frame.is_corrupt or frame.pts in damaged


def _upright(frame: av.VideoFrame, size: tuple[int, int]) -> RGB:
    """Return a frame as RGB, upright; after a change of resolution it is scaled back to `size`."""
    width, height = size
    image = frame.to_ndarray(format="rgb24", width=width, height=height)
    upright: RGB = np.rot90(image, round(frame.rotation / 90))
    return np.ascontiguousarray(upright)
