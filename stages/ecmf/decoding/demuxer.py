"""Read a media file, or a piece of it, in one pass: collect packets of video, decode audio.

Video is decoded by `decoders/`, from its packets.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition, Stream

from ecmf.decoding import ffmpeg_log
from ecmf.decoding.audio_decoder import PREROLL, AudioDecoder, AudioTrack
from ecmf.decoding.container import open_container
from ecmf.decoding.frame_times import Timeline
from ecmf.decoding.piece import ROUNDING, WHOLE, Piece
from ecmf.decoding.wav_header import is_streamed
from ecmf.errors import ClipError

TOLERANCE = 0.25
"""Seconds by which a file may be shorter than declared: headers round and include padding."""

EXACT_SEEK = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "wav", "w64", "flac", "ogg")
"""Formats in which the packets after a seek have their true times. Others are read from the start:
after a seek in MP3, times are guessed from the bit rate."""

INTERLEAVING = 10.0
"""Seconds by which the streams of a file may lag behind one another."""

ALL_PTS = range(-(1 << 63), 1 << 63)


@dataclass(frozen=True)
class VideoStream:
    """The compressed video of a file.

    `packets` are in decoding order; `timeline` has the timestamps of the intact ones.
    `truncated_at` is the byte at which the last packet of a truncated file begins. Declared values
    are those of the header (NaN if absent), without frames that are never shown. `size` is the
    declared width and height in pixels, before a rotation. `counted` is whether the header declares
    the number of frames, so that none of them can be lost unnoticed. `span` are the timestamps of
    the piece to decode; the frames before it are only decoded because others depend on them.
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
    span: range = ALL_PTS

    @property
    def starts_at(self) -> float:
        """Time of the first frame in the file, in seconds."""
        return float(self.timeline.pts[0]) * self.timeline.time_base


@contextmanager
def open_media(
    path: Path, *, video: bool, audio: bool, piece: Piece = WHOLE
) -> Iterator["MediaFile"]:
    """Read a file once, from first to last byte; its video can be decoded within the block.

    Of a piece, only the bytes around it are read, if the format is one of EXACT_SEEK.

    Raises:
        ClipError: the file cannot be opened, or has neither video nor audio.
    """
    with open_container(path) as container:
        yield MediaFile(path, container, video=video, audio=audio, piece=piece)


class MediaFile:
    """The streams of a file.

    `fault` is the damage of its container, not of a stream in it, or "".
    """

    def __init__(
        self, path: Path, container: InputContainer, *, video: bool, audio: bool, piece: Piece
    ) -> None:
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
        self._starts_at = (container.start_time or 0) / av.time_base
        self._piece = piece.shifted(self._starts_at)
        self._audio_decoder = AudioDecoder(self._piece, open_ended=is_streamed(path))
        self._end = 0.0  # of the last packet, in seconds
        with ffmpeg_log.collect_errors() as messages:
            try:
                for packet in self._demux([s for s in (best_video, best_audio) if s]):
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

    def _demux(self, streams: list[Stream]) -> Iterator[av.Packet]:
        """Yield the packets of the piece, and some before and after it."""
        begin = self._piece.start - PREROLL
        if begin > self._starts_at and self._container.format.name in EXACT_SEEK:
            with suppress(av.FFmpegError):  # without an index it is read from the beginning
                self._container.seek(int(begin * av.time_base))
        passed = set()
        for packet in self._container.demux(streams):
            yield packet
            if packet.dts is not None:
                late = float(packet.dts * packet.time_base) - self._piece.end
                if late > PREROLL:
                    passed.add(packet.stream_index)
                if len(passed) == len(streams) or late > INTERLEAVING:
                    return

    def _take(self, packet: av.Packet) -> None:
        if packet.pts is not None:
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            self._end = max(self._end, end)
        if packet.stream is self._video and packet.size:
            self._take_video(packet)
        elif packet.stream is self._audio:
            self._audio_decoder.feed(packet)

    def _take_video(self, packet: av.Packet) -> None:
        """Collect a packet, from the last key frame on that is not after the start of the piece."""
        if not self._piece.is_whole and packet.pts is not None:
            if packet.is_keyframe and packet.pts * packet.time_base <= self._piece.start + ROUNDING:
                self._packets.clear()
            elif self._packets and packet.pts < (self._packets[0].pts or 0):
                return  # shown before that key frame, and decoded with frames before it
        self._packets.append(packet)

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
        timeline = Timeline(pts, float(shown[0].time_base), _last_duration(shown))
        declared, span = self._video.frames or len(self._packets), ALL_PTS
        declared -= sum(packet.is_discard for packet in self._packets)
        if not self._piece.is_whole:
            timeline = self._piece.frames(timeline)
            span = range(int(timeline.pts[0]), int(timeline.pts[-1]) + 1)
            declared = sum(packet.pts in span and not packet.is_discard for packet in self._packets)
        return VideoStream(
            self._path,
            self._video,
            self._packets,
            timeline,
            self._packets[-1].pos if self._packets[-1].is_corrupt else None,
            declared,
            self._declared_seconds(self._video),
            (self._video.width, self._video.height),
            bool(self._video.frames),
            span,
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
            declared = float(stream.duration * (stream.time_base or 0))
        else:
            whole = (self._container.duration or 0) / av.time_base
            declared = whole if self._end - self._starts_at < whole - TOLERANCE else np.nan
        if self._piece.is_whole:
            return declared
        return self._piece.length(self._starts_at, self._starts_at + declared)


def _last_duration(shown: list[av.Packet]) -> float:
    """Return the seconds for which the last frame is shown: its duration, else the mean."""
    last = max(shown, key=lambda packet: packet.pts)
    if last.duration:
        return float(last.duration * last.time_base)
    first = min(shown, key=lambda packet: packet.pts)
    return float((last.pts - first.pts) * last.time_base) / max(1, len(shown) - 1)
