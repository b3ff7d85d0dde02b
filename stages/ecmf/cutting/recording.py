"""Read a recording of any length once, in blocks, and find its speech and its shot cuts."""

import logging
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
from av.container import InputContainer
from av.stream import Disposition, Stream
from tqdm import tqdm

from ecmf.cutting.shots import ShotDetector
from ecmf.cutting.speech import SpeechDetector
from ecmf.cutting.utterances import Span, divide_at_cuts, pad
from ecmf.decoding.audio_decoder import GAP
from ecmf.decoding.container import open_container
from ecmf.decoding.waveform import WaveformBuilder
from ecmf.errors import ClipError

log = logging.getLogger(__name__)


class Utterances(NamedTuple):
    """The utterances of a recording, in seconds from its beginning, and whether it has video."""

    spans: list[Span]
    has_video: bool


IMAGE_WIDTH = 128
"""Pixels of the images in which cuts are searched."""


class Recording:
    """The sound and the shots of a recording, as far as it was read."""

    def __init__(self) -> None:
        self.speech = SpeechDetector()
        self.shots = ShotDetector()
        self._waveform = WaveformBuilder()
        self._heard = 0.0
        self._anchors: list[Span] = []  # seconds of sound, and the time in the file they begin at

    @property
    def heard(self) -> bool:
        """Whether there was any sound."""
        return bool(self._anchors)

    @property
    def ends_at(self) -> float:
        """Time of the end of the sound in the file."""
        return self.time_of(self._heard)

    def time_of(self, heard: float) -> float:
        """Return the time in the file at which so many seconds of sound were heard."""
        index = max(0, bisect_right(self._anchors, (heard, float("inf"))) - 1)
        position, time = self._anchors[index]
        return time + heard - position

    def hear(self, frame: av.AudioFrame, time: float) -> None:
        """Take the next frame of sound, which begins at `time`; pauses of the track are kept."""
        if not self._anchors or time - self.ends_at > GAP:
            self._anchors.append((self._heard, time))
        self._waveform.add(frame)
        self._heard += frame.samples / frame.sample_rate
        self.speech.feed(self._waveform.drain())

    def see(self, frame: av.VideoFrame, time: float) -> None:
        """Take the next frame of the video."""
        height = max(1, round(IMAGE_WIDTH * frame.height / frame.width))
        self.shots.feed(time, frame.to_ndarray(format="rgb24", width=IMAGE_WIDTH, height=height))


def find_utterances(
    path: Path, *, shortest: float, longest: float, silence: float, padding: float
) -> Utterances:
    """Find the utterances of a recording.

    Packets that cannot be decoded are passed over, with a warning if the file breaks off.

    Raises:
        ClipError: the file cannot be read, or has no sound.
    """
    recording = Recording()
    with open_container(path) as container:
        video, audio = container.streams.best("video"), container.streams.best("audio")
        if video is not None and video.disposition & Disposition.attached_pic:
            video = None  # cover art
        if audio is None:
            raise ClipError("it has no sound to cut it by")
        begin = (container.start_time or 0) / av.time_base
        length = (container.duration or 0) / av.time_base
        with tqdm(total=round(length), desc=path.name, unit="s", disable=None) as progress:
            for frame in _frames(container, [stream for stream in (video, audio) if stream]):
                if isinstance(frame, av.AudioFrame):
                    recording.hear(frame, (frame.time or 0) - begin)
                    progress.update(int(recording.ends_at) - progress.n)
                elif isinstance(frame, av.VideoFrame) and frame.time is not None:
                    recording.see(frame, frame.time - begin)
    if not recording.heard:
        raise ClipError("none of its sound can be decoded")
    times = [
        (recording.time_of(start), recording.time_of(end))
        for start, end in recording.speech.spans(shortest, longest, silence)
    ]
    cuts = recording.shots.cuts
    spans = pad(divide_at_cuts(times, cuts, shortest), cuts, padding, recording.ends_at)
    return Utterances(spans, video is not None)


def _frames(container: InputContainer, streams: list[Stream]) -> Iterator[object]:
    """Yield the frames that can be decoded, up to where a damaged file can no longer be read."""
    packets = container.demux(streams)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except (av.FFmpegError, IndexError) as error:  # IndexError: as in `demuxer`
            log.warning("%s cannot be read to its end (%s)", Path(container.name).name, error)
            return
        try:
            frames = packet.decode()
        except av.FFmpegError:
            continue
        yield from frames
