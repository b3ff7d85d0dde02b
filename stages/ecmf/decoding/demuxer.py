"""Read a media file, or a piece of it, in one pass: list the packets of video, decode audio.

Video is decoded by `decoders/`, from its packets, which are read a second time: so the memory of
a worker does not grow with the length or the bit rate of a file.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition, Stream

from ecmf.decoding import ffmpeg_log
from ecmf.decoding.audio_decoder import PREROLL, AudioDecoder, AudioTrack
from ecmf.decoding.container import open_container
from ecmf.decoding.frame_times import Timeline
from ecmf.decoding.ogg_pages import has_open_stream
from ecmf.decoding.packet_table import PacketTable
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

MAX_PIXELS = 8192 * 4320
"""Largest frame, 8K: a decoder holds several, 53 MB each, and one of 106 MB in RGB."""

ALL_PTS = range(-(1 << 63), 1 << 63)


@dataclass(frozen=True)
class VideoStream:
    """The compressed video of a file.

    `packets` are its packets, and `timeline` has the timestamps of the intact ones.
    `truncated_at` is the byte at which the last packet of a truncated file begins. Declared values
    are those of the header (NaN if absent), without frames that are never shown. `size` is the
    declared width and height in pixels, before a rotation. `counted` is whether the header declares
    the number of frames, so that none of them can be lost unnoticed. `span` are the timestamps of
    the piece to decode; the frames before it are only decoded because others depend on them.
    """

    path: Path
    stream: av.VideoStream
    packets: PacketTable
    timeline: Timeline
    truncated_at: int | None
    declared_frames: int
    declared_seconds: float
    size: tuple[int, int]
    counted: bool
    span: range = ALL_PTS
    seek: int | None = None

    @contextmanager
    def reopen(self) -> Iterator[tuple[av.VideoCodecContext, Iterator[av.Packet]]]:
        """Open the file again; yield a decoder, and the packets in decoding order."""
        with open_container(self.path) as container:
            stream = container.streams[self.stream.index]
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
            _seek(container, self.seek)
            yield stream.codec_context, self._read(container, stream)

    def _read(self, container: InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
        wanted = iter(self.packets.numbers.tolist())
        number = next(wanted)
        packets = (packet for packet in container.demux(stream) if packet.size)
        for position, packet in enumerate(packets):
            if position == number:
                yield packet
                number = next(wanted, None)
                if number is None:
                    return

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
        self._packets, self._number = PacketTable(), 0
        self._starts_at = (container.start_time or 0) / av.time_base
        self._piece = piece.shifted(self._starts_at)
        begin = self._piece.start - PREROLL
        exact = begin > self._starts_at and container.format.name in EXACT_SEEK
        self._seek = int(begin * av.time_base) if exact else None
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
        cut = container.format.name == "ogg" and piece.is_whole and has_open_stream(path)
        if cut and not self.fault:
            self.fault = "its last page is not marked as the end: it is cut off, or a broadcast"

    def _hear(self, messages: list[ffmpeg_log.Message]) -> None:
        """Note the first error of the container that FFmpeg logged, and forget all."""
        for _, component, message in messages:
            if component == self._container.format.name and not self.fault:
                self.fault = f"its container is damaged (FFmpeg: {message.strip()})"
        messages.clear()

    def _demux(self, streams: list[Stream]) -> Iterator[av.Packet]:
        """Yield the packets of the piece, and some before and after it."""
        _seek(self._container, self._seek)
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
        """List a packet, from the last key frame on that is not after the start of the piece."""
        number, self._number = self._number, self._number + 1
        if not self._piece.is_whole and packet.pts is not None:
            if packet.is_keyframe and packet.pts * packet.time_base <= self._piece.start + ROUNDING:
                self._packets.clear()
            elif self._packets and packet.pts < self._packets.first_pts:
                return  # shown before that key frame, and decoded with frames before it
        self._packets.append(number, packet)

    def video_stream(self) -> VideoStream | None:
        """Return the video, or None if there is none; raises ClipError if it has no timestamps."""
        if self._video is None:
            return None
        if not self._packets:
            raise ClipError("its video stream holds no frame")
        if self._video.width * self._video.height > MAX_PIXELS:
            raise ClipError(
                f"its frames have {self._video.width} x {self._video.height} pixels, more than "
                f"{MAX_PIXELS / 1e6:.0f} million: make them smaller"
            )
        packets, time_base = self._packets, Fraction(self._video.time_base or 0)
        if not len(packets.shown):
            raise ClipError(
                f"none of its {len(packets)} frames has a timestamp: convert it to mp4 or mkv"
            )
        timeline = Timeline(packets.shown, float(time_base), packets.last_duration(time_base))
        declared, span = self._video.frames or len(packets), ALL_PTS
        declared -= int(packets.discarded.sum())
        if not self._piece.is_whole:
            timeline = self._piece.frames(timeline)
            span = range(int(timeline.pts[0]), int(timeline.pts[-1]) + 1)
            within = (packets.pts >= span.start) & (packets.pts < span.stop)
            declared = int((within & ~packets.discarded).sum())
        return VideoStream(
            self._path,
            self._video,
            packets,
            timeline,
            packets.torn_at,
            declared,
            self._declared_seconds(self._video),
            (self._video.width, self._video.height),
            bool(self._video.frames),
            span,
            self._seek,
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


def _seek(container: InputContainer, position: int | None) -> None:
    """Go to a time in FFmpeg's units; without an index a file is read from its beginning."""
    if position is not None:
        with suppress(av.FFmpegError):
            container.seek(position)
