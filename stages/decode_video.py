"""Decode the media files of a manifest into frames and waveforms, reading each file once."""

import functools
import logging
from pathlib import Path

from ecmf.cli import stage
from ecmf.data.manifest import read_manifest
from ecmf.decoding.clip_decoder import (
    AUDIO,
    AUDIO_PROVENANCE,
    FRAMES,
    ClipDecoder,
    DecodedClip,
    content_key,
    failed_clip,
)
from ecmf.execution import code_fingerprint, engine
from ecmf.execution.error_budget import check_budget
from ecmf.execution.process_pool import Failure
from ecmf.execution.recipe import ClipInput, PoolRecipe
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
    """Decode every clip of the manifest into a store of frames and a store of audio."""
    recipe = build_recipe(params)
    listed = read_manifest(manifest)
    clips = [
        ClipInput(clip.clip_id, content_key(clip), functools.partial(listed.__getitem__, index))
        for index, clip in enumerate(listed)
    ]
    results = engine.run(recipe, clips, shard)
    if results is None:
        return
    failures: dict[str, str] = {}
    flags: dict[str, str] = {}
    with (
        StoreWriter(frames, FRAMES, recipe.identity["frames"]) as frames_out,
        StoreWriter(audio, AUDIO, recipe.identity["audio"]) as audio_out,
    ):
        for clip_id, result in results:
            decoded = (
                failed_clip(result.reason) if isinstance(result, Failure) else DecodedClip(*result)
            )
            frames_out.append(clip_id, decoded.frames)
            audio_out.append(clip_id, decoded.audio)
            if decoded.failure:
                failures[clip_id] = decoded.failure
            if decoded.flag:
                flags[clip_id] = decoded.flag
        check_budget(failures, len(clips), params.error_budget)
    for clip_id, flag in flags.items():
        log.warning("flagged: %s: %s", clip_id, flag)


def build_recipe(params: DecodeVideo) -> PoolRecipe:
    """Build the recipe that decodes a clip."""
    decode = ClipDecoder(params)
    identity = {
        "frames": decode.frames_provenance,
        "audio": AUDIO_PROVENANCE,
        "code": code_fingerprint.hash_modules(
            "ecmf.decoding.clip_decoder", f"ecmf.decoders.{params.decoder}"
        ),
    }
    return PoolRecipe(
        "decode_video", (FRAMES, AUDIO), identity, decode, seconds_per_clip=params.seconds_per_clip
    )


if __name__ == "__main__":
    stage.main(decode_video)
