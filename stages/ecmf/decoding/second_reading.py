"""Decode the frames of a stored clip again, from its file and of its own size.

The store of frames keeps small images, because large ones of all clips would not fit on a disk.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from ecmf import registry
from ecmf.data.manifest import Clip
from ecmf.decoding.base import Converted, Decoder, decode_frames
from ecmf.decoding.clip_content import check_content
from ecmf.decoding.demuxer import open_media
from ecmf.decoding.piece import Piece
from ecmf.errors import ClipError, StoreError
from ecmf.media import Seconds
from ecmf.storage import files


class StoredClip(NamedTuple):
    """A clip of the manifest, and the times of its stored frames, (frames,)."""

    clip: Clip
    times: Seconds


@dataclass(frozen=True)
class SecondReading:
    """Read the files of a frame store again, with the decoder and the sampling of the first time.

    `frames` is the number of frames per clip that were asked for.
    """

    decoder: str
    options: Mapping[str, Any]
    frames: int

    @classmethod
    def of_store(cls, provenance: Mapping[str, Any]) -> Self:
        """Return the reading that made a store of frames; StoreError if `decode_video` did not."""
        try:
            return cls(provenance["decoder"], provenance["options"], provenance["frames"])
        except KeyError as error:
            raise StoreError(
                f"the store of frames names no {error.args[0]!r} that decode_video wrote: "
                "delete it and run decode_video again"
            ) from error

    @property
    def plugin(self) -> Decoder:
        """The plugin of `decoders/`, built with its options."""
        decoder: Decoder = registry.build("decoders", "Decoder", self.decoder, self.options)
        return decoder

    @property
    def provenance(self) -> dict[str, Any]:
        """Everything of the decoding that determines the frames before they are converted."""
        return {
            "decoder": self.decoder,
            "decoder_options": self.options,
            "frames": self.frames,
            **self.plugin.provenance,
        }

    def __call__(self, stored: StoredClip, convert: Callable[..., Converted]) -> list[Converted]:
        """Decode the clip's frames and convert each, upright and of the file's own size.

        Raises:
            ClipError: the file is gone, has changed, or has its frames at other times.
        """
        clip, times = stored
        check_content(clip)
        file, piece = files.locate(Path(clip.video)), Piece.of(clip)
        try:
            with open_media(file, video=True, audio=False, piece=piece) as media:
                video = media.video_stream()
                if video is None:
                    raise ClipError("it holds no video any more: run decode_video again")
                decoded = decode_frames(self.plugin, video, self.frames, convert)
        except ClipError as error:
            raise ClipError(f"{clip.video}: {error}") from error
        if not np.array_equal(decoded.times, times):
            raise ClipError(
                f"{clip.video}: changed since decode_video: {len(decoded.times)} frames, of which "
                f"{len(np.intersect1d(decoded.times, times))} at the times of the {len(times)} "
                "stored ones. Index the corpus again"
            )
        return decoded.converted
