"""Decode a clip of the manifest into JPEG frames and a waveform, and check their integrity.

The audio of a clip is its audio file if the manifest names one, else the audio track of its video.
Times of frames and audio are each relative to their own start; the fact `starts_at` is that start
in the time of the file.
"""

import functools
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
from ecmf.decoding.base import Decoder, decode_frames
from ecmf.decoding.clip_content import check_content
from ecmf.decoding.demuxer import MediaFile, open_media
from ecmf.decoding.piece import Piece
from ecmf.decoding.waveform import RESAMPLER_QUALITY
from ecmf.errors import ClipError
from ecmf.media import SAMPLE_RATE, Seconds
from ecmf.params import DecodeVideo
from ecmf.storage import files
from ecmf.storage.jpeg import downscale, encode_jpeg
from ecmf.storage.store import Layout, Rows, no_rows

FRAMES = Layout(jpeg=True)
AUDIO = Layout(dtype="int16", rate=SAMPLE_RATE)

AUDIO_PROVENANCE = {
    "stage": "decode_video",
    "channels": "averaged",
    "resampler": f"soxr {RESAMPLER_QUALITY}",
    "soxr": soxr.__version__,
    "av": av.__version__,
}
"""Without the parameters of the frames, which do not change the audio store."""


class DecodedClip(NamedTuple):
    """Rows of one clip for the store of frames and for the store of audio."""

    frames: Rows
    audio: Rows


@dataclass(frozen=True)
class ClipDecoder:
    """Decode clips; the decoder is built in the worker process that runs it."""

    params: DecodeVideo

    @property
    def decoder(self) -> Decoder:
        """The plugin of `decoders/`, built with its options."""
        decoder: Decoder = registry.build(
            "decoders", "Decoder", self.params.decoder, self.params.chosen_options
        )
        return decoder

    @property
    def frames_provenance(self) -> dict[str, Any]:
        """Everything that determines the bytes of the frames."""
        return {
            "stage": "decode_video",
            "decoder": self.params.decoder,
            "options": self.params.chosen_options,
            "frames": self.params.frames,
            "longest_side": self.params.longest_side,
            "jpeg_quality": self.params.jpeg_quality,
            "opencv": cv2.__version__,
            "av": av.__version__,
            **self.decoder.provenance,
        }

    def __call__(self, clip: Clip) -> DecodedClip:
        """Decode a clip; frames or audio that cannot be decoded have state "failed"."""
        try:
            check_content(clip)
        except ClipError as error:
            return _failed_clip(str(error))
        if clip.video and not clip.audio:
            return self._decode(clip, clip.video)
        frames = no_rows(FRAMES, "empty", "the manifest names no video")
        audio = no_rows(AUDIO, "empty", "the manifest names no audio")
        if clip.video:
            frames = self._decode(clip, clip.video, audio=False).frames
        if clip.audio:
            audio = self._decode(clip, clip.audio, video=False).audio
        return DecodedClip(frames, audio)

    def _decode(
        self, clip: Clip, path: str, *, video: bool = True, audio: bool = True
    ) -> DecodedClip:
        file, piece = files.locate(Path(path)), Piece.of(clip)
        try:
            with open_media(file, video=video, audio=audio, piece=piece) as media:
                return DecodedClip(self._frames(media), _audio(media))
        except ClipError as error:
            return _failed_clip(f"{path}: {error}")

    def _frames(self, media: MediaFile) -> Rows:
        facts: dict[str, float] = {}
        try:
            video = media.video_stream()
            if video is None:
                return no_rows(FRAMES, "empty", "no video stream")
            facts |= {
                "starts_at": video.starts_at,
                "claimed_frames": video.declared_frames,
                "claimed_seconds": video.declared_seconds,
            }
            shrink = functools.partial(downscale, longest_side=self.params.longest_side)
            decoded = decode_frames(self.decoder, video, self.params.frames, shrink)
        except ClipError as error:
            return no_rows(FRAMES, "failed", str(error), facts)
        facts |= {
            "decoded_frames": len(decoded.timeline.pts),
            "decoded_seconds": decoded.timeline.seconds,
            "damaged_frames": decoded.damaged,
        }
        warnings = integrity.frame_warnings(facts, decoded.timeline, counted=video.counted)
        return _rows(
            [encode_jpeg(image, self.params.jpeg_quality) for image in decoded.converted],
            decoded.times,
            facts,
            [*warnings, media.fault],
        )


def _failed_clip(reason: str) -> DecodedClip:
    """Return the rows of a clip that could not be decoded at all.

    Control characters of its name are escaped: a terminal would obey them.
    """
    reason = reason if reason.isprintable() else ascii(reason)[1:-1]
    return DecodedClip(no_rows(FRAMES, "failed", reason), no_rows(AUDIO, "failed", reason))


def _audio(media: MediaFile) -> Rows:
    try:
        track = media.audio_track()
    except ClipError as error:
        return no_rows(AUDIO, "failed", str(error))
    if track is None:
        return no_rows(AUDIO, "empty", "no audio track")
    facts = {
        "starts_at": track.starts_at,
        "claimed_seconds": track.declared_seconds,
        "decoded_seconds": len(track.samples) / SAMPLE_RATE,
    }
    warnings = [*integrity.audio_warnings(facts, track), media.fault]
    if not len(track.samples):
        reason = "; ".join(filter(None, ["the audio track holds no sample", *warnings]))
        return no_rows(AUDIO, "failed" if any(warnings) else "empty", reason, facts)
    return _rows(track.samples, np.empty(0), facts, warnings)


def _rows(
    values: NDArray[Any] | list[bytes],
    times: Seconds,
    facts: Mapping[str, float],
    warnings: Iterable[str],
) -> Rows:
    reason = "; ".join(filter(None, warnings))
    return Rows(values, times, facts=facts, state="flagged" if reason else "whole", reason=reason)
