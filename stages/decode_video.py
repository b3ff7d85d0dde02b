"""Video and audio files -> frames and waveforms; nothing is decoded twice."""

import functools
import logging
from pathlib import Path

from ecmf.cli import stage
from ecmf.data.manifest import Clip, read_manifest
from ecmf.decoding.clip_decoder import (
    AUDIO,
    FRAMES,
    PROVENANCE_OF_AUDIO,
    ClipDecoder,
    Decoded,
    content_key,
    failed,
)
from ecmf.execution import code_fingerprint, engine
from ecmf.execution.error_budget import check_budget
from ecmf.execution.process_pool import Failure
from ecmf.execution.recipe import Given, InProcesses
from ecmf.execution.shard import Shard
from ecmf.params import DecodeVideo
from ecmf.storage.store_writer import StoreWriter

log = logging.getLogger(__name__)


def decode_video(
    manifest: Path,
    frames: Path,
    audio: Path,
    params: DecodeVideo,
    shard: Shard | None = None,
) -> None:
    """Decode every clip of the manifest into a store of frames and one of sound."""
    recipe = recipe_of(params)
    clips = [
        Given(clip.clip_id, content_key(clip), functools.partial(_itself, clip))
        for clip in read_manifest(manifest)
    ]
    results = engine.apply(recipe, clips, shard)
    if results is None:
        return
    failures: dict[str, str] = {}
    flags: dict[str, str] = {}
    with (
        StoreWriter(frames, FRAMES, recipe.identity["frames"]) as pictures,
        StoreWriter(audio, AUDIO, recipe.identity["audio"]) as voices,
    ):
        for clip_id, result in results:
            decoded = failed(result.reason) if isinstance(result, Failure) else Decoded(*result)
            pictures.append(clip_id, decoded.frames)
            voices.append(clip_id, decoded.audio)
            if decoded.failure:
                failures[clip_id] = decoded.failure
            if decoded.flag:
                flags[clip_id] = decoded.flag
        check_budget(failures, len(clips), params.error_budget)
    for clip_id, flag in flags.items():
        log.warning("flagged: %s: %s", clip_id, flag)


def recipe_of(params: DecodeVideo) -> InProcesses:
    """What is done with a clip."""
    decode = ClipDecoder(params)
    identity = {
        "frames": decode.provenance_of_frames,
        "audio": PROVENANCE_OF_AUDIO,
        "code": code_fingerprint.of(
            "ecmf.decoding.clip_decoder", f"ecmf.decoders.{params.decoder}"
        ),
    }
    return InProcesses(
        "decode_video", (FRAMES, AUDIO), identity, decode, seconds_per_clip=params.seconds_per_clip
    )


def _itself(clip: Clip) -> Clip:
    return clip


if __name__ == "__main__":
    stage.main(decode_video)
