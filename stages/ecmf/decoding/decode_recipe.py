"""Decode clips into two stores: the recipe for one clip, its inputs, and the run on all clips."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

from ecmf.data.manifest import Clip
from ecmf.decoding.clip_content import content_key
from ecmf.decoding.clip_decoder import (
    AUDIO,
    AUDIO_PROVENANCE,
    FRAMES,
    ClipDecoder,
)
from ecmf.execution import code_fingerprint, engine
from ecmf.execution.recipe import ClipInput, PoolRecipe
from ecmf.execution.result_writer import OutputStore, write_results
from ecmf.execution.shard import Shard
from ecmf.params import DecodeVideo


def decode_clips(
    clips: Sequence[Clip],
    frames: Path,
    audio: Path,
    params: DecodeVideo,
    shard: Shard | None = None,
) -> Mapping[str, str]:
    """Decode clips into a store of frames and one of audio; return the reason of each flagged clip.

    With a `shard`, only the cache is filled.
    """
    recipe = build_recipe(params)
    results = engine.run(recipe, clip_inputs(clips), shard)
    if results is None:
        return {}
    return write_results(results, output_stores(frames, audio, recipe), params.error_budget)


def build_recipe(params: DecodeVideo) -> PoolRecipe:
    """Build the recipe that decodes a clip into frames and audio."""
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


def clip_inputs(clips: Sequence[Clip]) -> list[ClipInput]:
    """Wrap the clips of a manifest as inputs of the recipe."""
    return [
        ClipInput(clip.clip_id, content_key(clip), functools.partial(clips.__getitem__, index))
        for index, clip in enumerate(clips)
    ]


def output_stores(frames: Path, audio: Path, recipe: PoolRecipe) -> list[OutputStore]:
    """Describe the two stores that a recipe's results are written to."""
    return [
        OutputStore(frames, FRAMES, recipe.identity["frames"]),
        OutputStore(audio, AUDIO, recipe.identity["audio"]),
    ]
