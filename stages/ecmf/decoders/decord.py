"""Decode with FFmpeg through decord, sequentially; reject videos whose frames cannot be identified.

decord does not report which frame it returns: it repeats another frame for a lost one, and after a
seek in a transport stream all frames are a group of pictures late. Therefore this decoder never
seeks, decord's timestamps must be those of the file, and every frame must be decoded, first to
last, without a repetition or an error in FFmpeg's log; then the n-th frame is frame n. `pyav` may
decode a rejected video. It also decodes a piece of a file, to which this decoder would have to
seek. Frames that are not sampled are decoded, but not converted to RGB.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import decord
import numpy as np

from ecmf.config import Section
from ecmf.decoding import ffmpeg_log
from ecmf.decoding.base import Converted, DecodedFrames
from ecmf.decoding.container import local_url
from ecmf.decoding.demuxer import ALL_PTS, VideoStream
from ecmf.errors import ClipError
from ecmf.execution.clip_errors import failing_one_clip
from ecmf.media import RGB

FAULT_TOLERANCE = 1e-9
"""Fraction of repeated frames above which decord raises; `fault_tol=1` would accept one frame."""

TOLERANCE = 0.002
"""Maximum error of decord's timestamps, 32-bit floats, in seconds."""

DECORD_ERRORS = (
    decord.DECORDError, decord.DECORDLimitReachedError, RuntimeError, StopIteration,
)  # fmt: skip

REMEDY = "`decoder: pyav` may read it"


class Options(Section):
    """No options."""


class Decoder:
    """Decode a file from its first to its last frame, in one thread."""

    def __init__(self, options: Options) -> None:
        decord.logging.set_level(decord.logging.ERROR)  # read below
        self.provenance: Mapping[str, Any] = {"decord": decord.__version__}

    def __call__(
        self, video: VideoStream, frames: int, convert: Callable[[RGB], Converted]
    ) -> DecodedFrames[Converted]:
        """Decode the video; a truncated file is decoded up to its last intact packet."""
        if video.span != ALL_PTS:
            raise ClipError(f"decord reads whole files, and the clip is a piece of one: {REMEDY}")
        timeline = video.timeline
        chosen = timeline.sample_uniformly(frames)
        wanted = set(chosen.tolist())
        converted: list[Converted] = []
        try:
            with _readable_file(video) as path, ffmpeg_log.collect_stderr() as log:
                reader = decord.VideoReader(
                    local_url(path), num_threads=1, fault_tol=FAULT_TOLERANCE
                )
                _check_timestamps(reader, video)
                position = 0
                for number in _frames_to_read(reader, wanted, len(timeline.pts) - 1):
                    if number > position:
                        reader.skip_frames(number - position)
                    frame, position = reader.next(), number + 1
                    if number in wanted:
                        with failing_one_clip():  # not an error of decord
                            converted.append(convert(_without_padding(frame.asnumpy())))
        except DECORD_ERRORS as error:
            # The reason does not name a frame: it depends on the timing of decord's threads.
            raise ClipError(
                f"decord does not give all of its {len(timeline.pts)} frames: {REMEDY}"
            ) from error
        if any(line.startswith(f"[{video.stream.codec.name} @ ") for line in log):
            raise ClipError(f"FFmpeg reports damaged frames, and not which: {REMEDY}")
        return DecodedFrames(converted, timeline.times[chosen], timeline)


def _without_padding(image: RGB) -> RGB:
    """Remove the padding of rows, which decord returns as channels if their number comes out whole.

    That is so for widths of 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 96 and 144 pixels.
    """
    height, width, channels = image.shape
    if channels == 3:
        return image
    rows = image.reshape(height, width * channels)
    return np.ascontiguousarray(rows[:, : width * 3].reshape(height, width, 3))


def _frames_to_read(reader: Any, wanted: set[int], last: int) -> list[int]:
    """List the frames to convert to RGB; the others are only decoded, by `skip_frames`.

    `skip_frames` would seek across a key frame, and counts the end of the file as a frame.
    Therefore key frames, the frames before them and the last frame are always read.
    """
    keys = [int(key) for key in reader.get_key_indices()]
    before = range(keys[0] if keys else last)
    read = {*wanted, *keys, *(key - 1 for key in keys), *before, last}
    return sorted(read & set(range(last + 1)))


@contextmanager
def _readable_file(video: VideoStream) -> Iterator[Path]:
    """Yield the file, or a copy if decord would not read exactly its intact packets.

    decord stops well before the truncated last packet of a file, and reads other pictures where a
    picture is named like a sequence, `%d.jpg`.
    """
    if video.truncated_at is None and "%" not in str(video.path):
        yield video.path
        return
    with tempfile.NamedTemporaryFile(suffix=video.path.suffix) as copy:
        with video.path.open("rb") as file:
            shutil.copyfileobj(file, copy)
        copy.truncate(video.truncated_at)
        copy.flush()
        yield Path(copy.name)


def _check_timestamps(reader: Any, video: VideoStream) -> None:
    """Raise ClipError unless decord lists exactly the timestamps of the file."""
    listed = np.sort(reader.get_frame_timestamp(np.arange(len(reader)))[:, 0])
    start = (video.stream.start_time or 0) * video.timeline.time_base
    expected = video.starts_at + video.timeline.times - start
    nearest = np.searchsorted(listed, expected - TOLERANCE).clip(max=len(listed) - 1)
    wrong = int((np.abs(listed[nearest] - expected) > TOLERANCE).sum())
    between = (listed > expected[0] - TOLERANCE) & (listed < expected[-1] + TOLERANCE)
    wrong = max(wrong, abs(int(between.sum()) - len(expected)))
    if wrong:
        raise ClipError(
            f"decord gives {wrong} of its {len(expected)} frames other timestamps than the file, "
            f"so it cannot be trusted: {REMEDY}"
        )
