"""FFmpeg through PyAV: reads what FFmpeg reads, and of a damaged video whatever is intact.

A packet that cannot be decoded costs the frames up to the next key frame, which would be smeared.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import av
import numpy as np

from ecmf.config import Section
from ecmf.decoding.base import Footage
from ecmf.decoding.demuxer import Reel
from ecmf.decoding.frame_times import Timeline
from ecmf.errors import ClipError
from ecmf.media import RGB
from ecmf.storage.jpeg import shrink


class Options(Section):
    """Nothing to choose."""


class Decoder:
    """Decode the packets of a reel one after the other, in this thread."""

    def __init__(self, options: Options) -> None:
        self.provenance: Mapping[str, Any] = {"ffmpeg": av.ffmpeg_version_info}

    def __call__(self, reel: Reel, frames: int, longest_side: int) -> Footage:
        """Decode the reel; once more, choosing among what came, if not all promised frames did."""
        reel.stream.thread_type = "NONE"  # frame threads end a truncated file without an error
        images, timeline = _decode(reel, reel.timeline, frames, longest_side)
        if not np.array_equal(timeline.stamps, reel.timeline.stamps):
            images, timeline = _decode(reel, timeline, frames, longest_side)
        stamps = np.array(list(images), "int64")
        times = (stamps - timeline.stamps[0]) * timeline.unit
        return Footage(list(images.values()), times, timeline)


def _decode(
    reel: Reel, promised: Timeline, frames: int, longest_side: int
) -> tuple[dict[int, RGB], Timeline]:
    """Decode all; return the images chosen by `promised`, by stamp, and what was really there."""
    wanted = set(promised.stamps[promised.uniform(frames)].tolist())
    images: dict[int, RGB] = {}
    stamps = []
    for frame in _frames(reel):
        stamps.append(frame.pts)
        if frame.pts in wanted and frame.pts not in images:
            images[frame.pts] = shrink(_upright(frame), longest_side)
    if not stamps:
        raise ClipError(f"none of its {reel.claimed_frames} frames can be decoded")
    return images, Timeline(np.sort(np.array(stamps, "int64")), promised.unit, promised.last)


def _frames(reel: Reel) -> Iterator[av.VideoFrame]:
    decoder = reel.stream.codec_context
    broken = False
    for packet in [*reel.packets, None]:  # None: give what is still held back
        if packet is not None:
            broken = packet.is_corrupt or (broken and not packet.is_keyframe)
            if broken:
                continue
        try:
            found = decoder.decode(packet)
        except av.FFmpegError:
            broken = True
            continue
        yield from (frame for frame in found if frame.pts is not None)
    decoder.flush_buffers()


def _upright(frame: av.VideoFrame) -> RGB:
    turned: RGB = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
    return np.ascontiguousarray(turned)
