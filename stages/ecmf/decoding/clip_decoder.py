"""A clip of the manifest -> its frames as JPEG files and its sound, and what is wrong about them.

The sound of a clip is that of its own audio file where the manifest names one, else that of its
video. Sound is not moved against the pictures: each counts from its own start, and the fact
`starts_at` of both says when that is on the clock of the file.
"""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
import soxr
from numpy.typing import NDArray

from ecmf import registry
from ecmf.data.manifest import Clip
from ecmf.decoding import integrity
from ecmf.decoding.base import Decoder
from ecmf.decoding.demuxer import Recording, opened
from ecmf.decoding.waveform import QUALITY
from ecmf.errors import ClipError
from ecmf.media import SAMPLES_PER_SECOND, Seconds
from ecmf.params import DecodeVideo
from ecmf.storage import files
from ecmf.storage.jpeg import encode_jpeg
from ecmf.storage.store import Layout, Rows, State, no_rows

FRAMES = Layout(jpeg=True)
AUDIO = Layout(dtype="int16", rate=SAMPLES_PER_SECOND)

PROVENANCE_OF_AUDIO = {
    "stage": "decode_video",
    "channels": "averaged",
    "resampler": f"soxr {QUALITY}",
    "soxr": soxr.__version__,
    "av": av.__version__,
}
"""Nothing here that only pictures depend on: it would make the same sound another file."""


class Decoded(NamedTuple):
    """Rows of one clip for the store of frames and for that of audio."""

    frames: Rows
    audio: Rows

    @property
    def failure(self) -> str:
        """Why frames or audio failed; an empty string if neither did."""
        return _reasons(self, "failed")

    @property
    def flag(self) -> str:
        """What is doubtful about frames or audio; an empty string if nothing is."""
        return _reasons(self, "flagged")


@dataclass(frozen=True)
class ClipDecoder:
    """A clip in, its rows out. The decoder is built where it runs."""

    params: DecodeVideo

    @property
    def decoder(self) -> Decoder:
        """The chosen member of `decoders/` with its options."""
        options = self.params.options.get(self.params.decoder, {})
        decoder: Decoder = registry.create("decoders", "Decoder", self.params.decoder, options)
        return decoder

    @property
    def provenance_of_frames(self) -> dict[str, Any]:
        """What fixes the bytes of the frames."""
        return {
            "stage": "decode_video",
            "decoder": self.params.decoder,
            "options": self.params.options.get(self.params.decoder, {}),
            "frames": self.params.frames,
            "longest_side": self.params.longest_side,
            "jpeg_quality": self.params.jpeg_quality,
            "opencv": cv2.__version__,
            "av": av.__version__,
            **self.decoder.provenance,
        }

    def __call__(self, clip: Clip) -> Decoded:
        """Decode a clip; what cannot be decoded becomes failed rows with a reason."""
        try:
            _check_content(clip)
        except ClipError as error:
            return failed(str(error))
        if clip.video and not clip.audio:
            return self._decode(clip.video)
        frames = no_rows(FRAMES, "empty", "the manifest names no video")
        audio = no_rows(AUDIO, "empty", "the manifest names no audio")
        if clip.video:
            frames = self._decode(clip.video, sound=False).frames
        if clip.audio:
            audio = self._decode(clip.audio, video=False).audio
        return Decoded(frames, audio)

    def _decode(self, path: str, *, video: bool = True, sound: bool = True) -> Decoded:
        try:
            with opened(Path(path), video=video, sound=sound) as recording:
                return Decoded(self._frames(recording), _audio(recording))
        except ClipError as error:
            return failed(str(error))

    def _frames(self, recording: Recording) -> Rows:
        facts: dict[str, float] = {}
        try:
            reel = recording.reel()
            if reel is None:
                return no_rows(FRAMES, "empty", "no video stream")
            facts |= {
                "starts_at": reel.starts_at,
                "claimed_frames": reel.claimed_frames,
                "claimed_seconds": reel.claimed_seconds,
            }
            footage = self.decoder(reel, self.params.frames, self.params.longest_side)
        except ClipError as error:
            return no_rows(FRAMES, "failed", str(error), facts)
        facts |= {
            "decoded_frames": len(footage.timeline.stamps),
            "decoded_seconds": footage.timeline.seconds,
        }
        return _rows(
            [encode_jpeg(image, self.params.jpeg_quality) for image in footage.images],
            footage.times,
            facts,
            [recording.fault, *integrity.about_frames(facts, footage.timeline.repeated)],
        )


def content_key(clip: Clip) -> str:
    """Return what a clip is known by: the hash of its files, and which of them there are.

    Of a file that cannot be read nothing is known: the key is then another one every time.
    """
    try:
        content = clip.sha256 or files.sha256(*clip.sources)
    except OSError:
        return uuid.uuid4().hex
    return f"{content}-{bool(clip.video)}-{bool(clip.audio)}"


def failed(reason: str) -> Decoded:
    """Rows of a clip of which nothing could be decoded."""
    return Decoded(no_rows(FRAMES, "failed", reason), no_rows(AUDIO, "failed", reason))


def _check_content(clip: Clip) -> None:
    if clip.sha256 and clip.sources:
        try:
            found = files.sha256(*clip.sources)
        except OSError as error:
            raise ClipError(f"{error.filename}: cannot be read ({error.strerror})") from error
        if found != clip.sha256:
            raise ClipError(
                f"changed since it was indexed: its sha256 is {found}, the manifest says "
                f"{clip.sha256}. Index the corpus again"
            )


def _audio(recording: Recording) -> Rows:
    try:
        track = recording.track()
    except ClipError as error:
        return no_rows(AUDIO, "failed", str(error))
    if track is None:
        return no_rows(AUDIO, "empty", "no audio track")
    times = np.arange(len(track.samples)) / SAMPLES_PER_SECOND
    facts = {
        "starts_at": track.starts_at,
        "claimed_seconds": track.claimed_seconds,
        "decoded_seconds": len(track.samples) / SAMPLES_PER_SECOND,
    }
    faults = [recording.fault, *integrity.about_sound(facts, track.damaged_packets)]
    if not len(track.samples):
        reason = "; ".join(filter(None, ["the audio track holds no sample", *faults]))
        return no_rows(AUDIO, "empty", reason, facts)
    return _rows(track.samples, times, facts, faults)


def _rows(
    values: NDArray[Any] | list[bytes],
    times: Seconds,
    facts: Mapping[str, float],
    faults: Iterable[str],
) -> Rows:
    reason = "; ".join(filter(None, faults))
    return Rows(values, times, facts=facts, state="flagged" if reason else "whole", reason=reason)


def _reasons(decoded: Decoded, state: State) -> str:
    parts = {"frames": decoded.frames, "audio": decoded.audio}
    reasons = {name: rows.reason for name, rows in parts.items() if rows.state == state}
    if len(set(reasons.values())) == 1 and len(reasons) == 2:
        return next(iter(reasons.values()))
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
