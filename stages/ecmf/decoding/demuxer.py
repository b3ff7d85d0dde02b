"""A media file, read once -> the packets of its video, and its sound.

Pictures are not decoded here: that is the promise of `decoders/`. Sound is, so that it is the same
whatever decoder the pictures have.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition, Stream

from ecmf.decoding.frame_times import Timeline
from ecmf.decoding.waveform import Waveform
from ecmf.errors import ClipError
from ecmf.media import Samples

TOLERANCE = 0.25
"""Seconds a file may fall short of what it claims: headers round, and count the coder's padding."""


@dataclass(frozen=True)
class Reel:
    """The video of a file, still compressed.

    `packets` come in the order of decoding; `timeline` is what the whole ones among them promise.
    `cut_at` is the byte where a truncated file breaks off within its last picture. The claims are
    those of the header, NaN where it makes none; frames that are never shown do not count.
    """

    path: Path
    stream: av.VideoStream
    packets: list[av.Packet]
    timeline: Timeline
    cut_at: int | None
    claimed_frames: int
    claimed_seconds: float

    @property
    def starts_at(self) -> float:
        """The first frame's time on the clock of the file."""
        return float(self.timeline.stamps[0]) * self.timeline.unit


@dataclass(frozen=True)
class Track:
    """The sound of a file. `starts_at` is on the file's clock, NaN where there is no sample."""

    samples: Samples
    starts_at: float
    claimed_seconds: float
    damaged_packets: int


@contextmanager
def opened(path: Path, *, video: bool, sound: bool) -> Iterator["Recording"]:
    """Read a file once, from its first byte to its last; its reel can be decoded within the block.

    Raises:
        ClipError: the file is absent or empty, FFmpeg cannot make out what it is, or there is
            nothing to be seen or heard in it.
    """
    if not path.is_file():
        raise ClipError(f"{path}: there is no such file")
    if path.stat().st_size == 0:
        raise ClipError(f"{path}: the file is empty (0 bytes)")
    try:
        container = av.open(path, metadata_errors="ignore")
    except av.FFmpegError as error:
        raise ClipError(
            f"{path}: not a media file, or cut off before its index (FFmpeg: {error.strerror})"
        ) from error
    with container:
        yield Recording(path, container, video=video, sound=sound)


class Recording:
    """What a file holds; `fault` says why it could not be read to its end, if so."""

    def __init__(self, path: Path, container: InputContainer, *, video: bool, sound: bool) -> None:
        self.fault = ""
        self._path = path
        pictures, voice = container.streams.best("video"), container.streams.best("audio")
        if pictures is not None and pictures.disposition & Disposition.attached_pic:
            pictures = None  # a picture beside music (cover art) is no video
        if pictures is None and voice is None:
            raise ClipError(f"{path}: neither a video nor an audio stream in it")
        self._pictures = pictures if video else None
        self._voice = voice if sound else None
        self._packets: list[av.Packet] = []
        self._listener = _Listener()
        end = 0.0
        try:
            for packet in container.demux([stream for stream in (pictures, voice) if stream]):
                if packet.pts is not None:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                if packet.stream is self._pictures and packet.size:
                    self._packets.append(packet)
                elif packet.stream is self._voice:
                    self._listener.hear(packet)
        except av.FFmpegError as error:
            self.fault = f"it cannot be read to its end (FFmpeg: {error.strerror})"
        except IndexError:  # a damaged file announces a stream midway, which PyAV looks up in vain
            self.fault = "it cannot be read to its end (a packet of a stream it does not list)"
        self._claims = _Claims(container, end)

    def reel(self) -> Reel | None:
        """The video, or None if there is none; raises ClipError if it has no timestamps."""
        if self._pictures is None:
            return None
        if not self._packets:
            raise ClipError("its video stream holds no frame")
        whole = [packet for packet in self._packets if not packet.is_corrupt]
        shown = [packet for packet in whole if packet.pts is not None and not packet.is_discard]
        if not shown:
            raise ClipError(
                f"none of its {len(self._packets)} frames has a timestamp: convert it to mp4 or mkv"
            )
        stamps = np.sort(np.array([packet.pts for packet in shown], "int64"))
        claimed = self._pictures.frames or len(self._packets)
        return Reel(
            self._path,
            self._pictures,
            self._packets,
            Timeline(stamps, float(shown[0].time_base), _duration_of_last(shown)),
            self._packets[-1].pos if self._packets[-1].is_corrupt else None,
            claimed - sum(packet.is_discard for packet in self._packets),
            self._claims.seconds(self._pictures),
        )

    def track(self) -> Track | None:
        """The sound, or None if there is no track; raises ClipError if it is of no use."""
        if self._voice is None:
            return None
        return self._listener.track(self._claims.seconds(self._voice))


@dataclass(frozen=True)
class _Claims:
    """How long a file says it is, and when the last of its packets ends."""

    container: InputContainer
    end: float

    def seconds(self, stream: Stream) -> float:
        """Return what is claimed of a stream.

        Some containers claim a duration of the whole file only: that one of its streams is shorter
        proves nothing, as long as another one is not.
        """
        if stream.duration:
            return float(stream.duration * (stream.time_base or 0))
        whole = (self.container.duration or 0) / av.time_base
        begin = (self.container.start_time or 0) / av.time_base
        return whole if self.end - begin < whole - TOLERANCE else np.nan


def _duration_of_last(shown: list[av.Packet]) -> float:
    """How long the last frame stands, in seconds: as it says itself, else as long as the others."""
    last = max(shown, key=lambda packet: packet.pts)
    if last.duration:
        return float(last.duration * last.time_base)
    first = min(shown, key=lambda packet: packet.pts)
    return float((last.pts - first.pts) * last.time_base) / max(1, len(shown) - 1)


class _Listener:
    """Decode the packets of a track, in order."""

    def __init__(self) -> None:
        self._waveform = Waveform()
        self._starts_at = np.nan
        self._damaged = 0
        self._error: ClipError | None = None

    def hear(self, packet: av.Packet) -> None:
        """Take the next packet; the last one of a track is empty and ends it."""
        torn = packet.is_corrupt
        try:
            for frame in packet.decode():
                if np.isnan(self._starts_at) and frame.time is not None:
                    self._starts_at = frame.time
                self._waveform.add(frame)
        except av.FFmpegError:
            torn = True
        except ClipError as error:  # the pictures of the file may still be good
            self._error = self._error or error
        self._damaged += torn

    def track(self, claimed_seconds: float) -> Track:
        """All that was heard; raises ClipError if it cannot be one waveform."""
        if self._error:
            raise self._error
        samples = self._waveform.samples()
        return Track(samples, self._starts_at, claimed_seconds, self._damaged)
