"""Decode the packets of an audio track, in order, the same for every video decoder."""

from dataclasses import dataclass

import av
import numpy as np

from ecmf.decoding.piece import WHOLE, Piece
from ecmf.decoding.waveform import WaveformBuilder
from ecmf.errors import ClipError
from ecmf.execution.clip_errors import as_clip_error
from ecmf.media import Samples

GAP = 0.1
"""Seconds between two frames of sound that are a gap: those of intact files are at most 0.03."""

PREROLL = 1.0
"""Seconds of sound decoded before a piece: the first frames of a codec depend on those before."""


@dataclass(frozen=True)
class AudioTrack:
    """Decoded audio. `starts_at` is its start in the file, in seconds; NaN without samples.

    `corrupt_packets` are torn or could not be decoded. `missing_seconds` is the total of the gaps
    between the timestamps of its frames.
    """

    samples: Samples
    starts_at: float
    declared_seconds: float
    corrupt_packets: int
    missing_seconds: float


class AudioDecoder:
    """Decode the packets of an audio track, in order; keep the samples of a piece of it.

    The last packet of an `open_ended` track, whose length is not declared, is not torn: FFmpeg
    reports one for each file that ends before the length in its header.
    """

    def __init__(self, piece: Piece = WHOLE, *, open_ended: bool = False) -> None:
        self._piece, self._open_ended = piece, open_ended
        self._waveform = WaveformBuilder()
        self._starts_at = np.nan
        self._ends_at = np.nan
        self._packets = 0
        self._corrupt_packets = 0
        self._missing_seconds = 0.0
        self._error: ClipError | None = None

    def feed(self, packet: av.Packet) -> None:
        """Decode the next packet; the last packet of a track is empty and flushes the codec."""
        time = np.nan if packet.pts is None else float(packet.pts * packet.time_base)
        if self._error or time < self._piece.start - PREROLL:
            return
        corrupt = packet.is_corrupt and not self._open_ended
        self._packets += packet.size > 0
        try:
            for frame in packet.decode():
                self._take(frame)
        except av.FFmpegError:
            corrupt = True
        except Exception as error:  # noqa: BLE001 (the video of the file may still be good)
            self._error = as_clip_error(error)
        self._corrupt_packets += corrupt and not time < self._piece.start

    def _take(self, frame: av.AudioFrame) -> None:
        """Note the time of a frame and append its samples, or those of them in the piece."""
        rate = max(frame.sample_rate, 1)
        first, last = 0, frame.samples
        if not self._piece.is_whole:
            borders = (np.array([self._piece.start, self._piece.end]) - (frame.time or 0)) * rate
            first, last = np.rint(borders).clip(0, frame.samples).astype(int).tolist()
            if first == last:
                return
        if frame.time is not None:
            self._note_time(frame.time + first / rate, frame.time + last / rate)
        self._waveform.add(frame, slice(first, last))

    def _note_time(self, starts_at: float, ends_at: float) -> None:
        if np.isnan(self._starts_at):
            self._starts_at = starts_at
        elif starts_at - self._ends_at > GAP:
            self._missing_seconds += starts_at - self._ends_at
        self._ends_at = ends_at

    def finish(self, declared_seconds: float) -> AudioTrack:
        """Return the whole track.

        Raises:
            ClipError: its frames do not form one waveform, or none of its packets can be decoded.
        """
        if self._error:
            raise self._error
        samples = self._waveform.samples()
        if self._corrupt_packets and not len(samples):
            raise ClipError(f"none of its {self._packets} packets of sound can be decoded")
        return AudioTrack(
            samples,
            self._starts_at,
            declared_seconds,
            self._corrupt_packets,
            self._missing_seconds,
        )
