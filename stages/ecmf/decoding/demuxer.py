"""Read a media file in one pass: collect the packets of its video and decode its audio.

Video is decoded by `decoders/`, from its packets.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition, Stream

from ecmf.decoding import ffmpeg_log
from ecmf.decoding.audio_decoder import AudioDecoder, AudioTrack
from ecmf.decoding.container import open_container
from ecmf.decoding.frame_times import Timeline
from ecmf.decoding.wav_header import is_streamed
from ecmf.errors import ClipError

TOLERANCE = 0.25
"""Seconds by which a file may be shorter than declared: headers round and include padding."""


@dataclass(frozen=True)
class VideoStream:
    """The compressed video of a file.

    `packets` are in decoding order; `timeline` has the timestamps of the intact ones.
    `truncated_at` is the byte at which the last packet of a truncated file begins. Declared values
    are those of the header (NaN if absent), without frames that are never shown. `size` is the
    declared width and height in pixels, before a rotation. `counted` is whether the header declares
    the number of frames, so that none of them can be lost unnoticed.
    """

    path: Path
    stream: av.VideoStream
    packets: list[av.Packet]
    timeline: Timeline
    truncated_at: int | None
    declared_frames: int
    declared_seconds: float
    size: tuple[int, int]
    counted: bool

    @property
    def starts_at(self) -> float:
        """Time of the first frame in the file, in seconds."""
        return float(self.timeline.pts[0]) * self.timeline.time_base


@contextmanager
def open_media(path: Path, *, video: bool, audio: bool) -> Iterator["MediaFile"]:
    """Read a file once, from first to last byte; its video can be decoded within the block.

    Raises:
        ClipError: the file cannot be opened, or has neither video nor audio.
    """
    with open_container(path) as container:
        yield MediaFile(path, container, video=video, audio=audio)


class MediaFile:
    """The streams of a file.

    `fault` is the damage of its container, not of a stream in it, or "".
    """

    def __init__(self, path: Path, container: InputContainer, *, video: bool, audio: bool) -> None:
        self.fault = ""
        self._path = path
        self._container = container
        best_video, best_audio = container.streams.best("video"), container.streams.best("audio")
        if best_video is not None and best_video.disposition & Disposition.attached_pic:
            best_video = None  # cover art, an image attached to music
        if best_video is None and best_audio is None:
            raise ClipError("neither a video nor an audio stream in it")
        self._video = best_video if video and isinstance(best_video, av.VideoStream) else None
        self._audio = best_audio if audio else None
        self._packets: list[av.Packet] = []
        self._audio_decoder = AudioDecoder(open_ended=is_streamed(path))
        self._end = 0.0  # of the last packet, in seconds
        with ffmpeg_log.collect_errors() as messages:
            try:
                for packet in container.demux([s for s in (best_video, best_audio) if s]):
                    self._hear(messages)
                    self._take(packet)
            except av.FFmpegError as error:
                self.fault = f"it cannot be read to its end (FFmpeg: {error.strerror})"
            except IndexError:  # a damaged file adds a stream midway, and PyAV does not find it
                self.fault = "it cannot be read to its end (a packet of a stream it does not list)"
            self._hear(messages)

    def _hear(self, messages: list[ffmpeg_log.Message]) -> None:
        """Note the first error of the container that FFmpeg logged, and forget all."""
        for _, component, message in messages:
            if component == self._container.format.name and not self.fault:
                self.fault = f"its container is damaged (FFmpeg: {message.strip()})"
        messages.clear()

    def _take(self, packet: av.Packet) -> None:
        if packet.pts is not None:
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            self._end = max(self._end, end)
        if packet.stream is self._video and packet.size:
            self._packets.append(packet)
        elif packet.stream is self._audio:
            self._audio_decoder.feed(packet)

    def video_stream(self) -> VideoStream | None:
        """Return the video, or None if there is none; raises ClipError if it has no timestamps."""
        if self._video is None:
            return None
        if not self._packets:
            raise ClipError("its video stream holds no frame")
        intact = [packet for packet in self._packets if not packet.is_corrupt]
        shown = [packet for packet in intact if packet.pts is not None and not packet.is_discard]
        if not shown:
            raise ClipError(
                f"none of its {len(self._packets)} frames has a timestamp: convert it to mp4 or mkv"
            )
        pts = np.sort(np.array([packet.pts for packet in shown], "int64"))
        declared = self._video.frames or len(self._packets)
        return VideoStream(
            self._path,
            self._video,
            self._packets,
            Timeline(pts, float(shown[0].time_base), _last_duration(shown)),
            self._packets[-1].pos if self._packets[-1].is_corrupt else None,
            declared - sum(packet.is_discard for packet in self._packets),
            self._declared_seconds(self._video),
            (self._video.width, self._video.height),
            bool(self._video.frames),
        )

    def audio_track(self) -> AudioTrack | None:
        """Return the audio, or None if there is no track; raises ClipError if it is unusable."""
        if self._audio is None:
            return None
        return self._audio_decoder.finish(self._declared_seconds(self._audio))

    def _declared_seconds(self, stream: Stream) -> float:
        """Return the declared duration of a stream, or NaN if there is none to compare with.

        Some containers declare only the duration of the whole file. A shorter stream is then no
        evidence of damage if another stream has that duration.
        """
        if stream.duration:
            return float(stream.duration * (stream.time_base or 0))
        whole = (self._container.duration or 0) / av.time_base
        start = (self._container.start_time or 0) / av.time_base
        return whole if self._end - start < whole - TOLERANCE else np.nan


def _last_duration(shown: list[av.Packet]) -> float:
    """Return the seconds for which the last frame is shown: its duration, else the mean."""
    last = max(shown, key=lambda packet: packet.pts)
    if last.duration:
        return float(last.duration * last.time_base)
    first = min(shown, key=lambda packet: packet.pts)
    return float((last.pts - first.pts) * last.time_base) / max(1, len(shown) - 1)
