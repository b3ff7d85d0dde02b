"""Video and audio files -> frames and waveforms; nothing is decoded twice."""

import logging
from pathlib import Path

from tqdm import tqdm

from ecmf import stage, workers
from ecmf.budget import check_budget
from ecmf.decoding import AUDIO, FRAMES, PROVENANCE_OF_AUDIO, ClipDecoder, failed
from ecmf.manifest import read_manifest
from ecmf.params import DecodeVideo
from ecmf.store import StoreWriter
from ecmf.workers import Failure

log = logging.getLogger(__name__)


def decode_video(manifest: Path, frames: Path, audio: Path, params: DecodeVideo) -> None:
    """Decode every clip of the manifest into a store of frames and one of sound."""
    clips = read_manifest(manifest)
    decode = ClipDecoder(params)
    failures: dict[str, str] = {}
    flags: dict[str, str] = {}
    with (
        StoreWriter(frames, FRAMES, decode.provenance_of_frames) as pictures,
        StoreWriter(audio, AUDIO, PROVENANCE_OF_AUDIO) as voices,
    ):
        results = workers.run(
            decode, clips, workers=workers.count(), seconds_per_item=params.seconds_per_clip
        )
        progress = tqdm(clips, "decode_video", unit="clip", disable=None)
        for clip, result in zip(progress, results, strict=True):
            decoded = failed(result.reason) if isinstance(result, Failure) else result
            pictures.append(clip.clip_id, decoded.frames)
            voices.append(clip.clip_id, decoded.audio)
            if decoded.failure:
                failures[clip.clip_id] = decoded.failure
            if decoded.flag:
                flags[clip.clip_id] = decoded.flag
        check_budget(failures, len(clips), params.error_budget)
    for clip_id, flag in flags.items():
        log.warning("flagged: %s: %s", clip_id, flag)


if __name__ == "__main__":
    stage.main(decode_video)
