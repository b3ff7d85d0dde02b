"""Measure the cost of 132,171 clips, as many as MER2025 has: planning, a clip more, a store.

    python benchmarks/scale.py [--clips 132171] [folder for some 2 GB]

The clips are stubs whose results are in the cache already, as after a first run; all else is real:
the stages' own functions, their cache, their stores. Then one real recording is added.
Claims: planning at most 60 s and 1 GiB; one clip more, through all stages up to the features, at
most 90 s; a store of 132,171 x 1024 float16 at most 10 s of processor time and 1 GiB.
"""

import argparse
import hashlib
import logging
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "stages"))

import soundfile

from crop_faces import crop_faces
from decode_video import decode_video
from ecmf.cropping.crop_recipe import build_recipe as cropping_recipe
from ecmf.data.enriched_text import EnrichedText, write_texts
from ecmf.data.manifest import Clip, write_manifest
from ecmf.decoding.clip_content import content_key
from ecmf.decoding.decode_recipe import build_recipe as decoding_recipe
from ecmf.encoding.store_encoder import (
    AUDIO,
    IMAGES,
    ConfiguredEncoder,
    build_recipe,
    encode_audio_store,
    encode_image_store,
)
from ecmf.encoding.text_views import TEXT, encode_transcripts
from ecmf.execution import engine, local
from ecmf.execution.process_pool import Failure
from ecmf.execution.recipe import ClipInput, PoolRecipe, Recipe
from ecmf.params import AudioChoice, CropFaces, DecodeVideo, ImageChoice, TextChoice
from ecmf.storage.files import sha256
from ecmf.storage.store import Layout, Result, Rows, Store
from ecmf.storage.store_writer import StoreWriter

GIBIBYTE = 1 << 30
FRAMES = ImageChoice(encoder="colour_histogram")
FACES = ImageChoice(encoder="gradient_histogram")
AUDIO_CHOICE = AudioChoice(encoder="librosa")
TEXT_CHOICE = TextChoice(encoder="hashing")
VECTOR = Layout((1024,), "float16")

seconds: dict[str, tuple[float, float]] = {}
"""Step -> processor time and wall time."""


@contextmanager
def measure(step: str) -> Iterator[None]:
    """Record and print the time of a step."""
    processor, clock = time.process_time(), time.perf_counter()
    yield
    seconds[step] = time.process_time() - processor, time.perf_counter() - clock
    print(
        f"{step:<44} {seconds[step][0]:8.1f} s of processor {seconds[step][1]:8.1f} s", flush=True
    )


def fill(recipe: Recipe, keys: list[str], result: Callable[[int], Result]) -> None:
    """Put the results of stubs into the cache, as a first run would."""
    cache = recipe.open_cache()
    for first in range(0, len(keys), local.CLIPS_PER_PACK):
        part = range(first, min(first + local.CLIPS_PER_PACK, len(keys)))
        cache.put({keys[number]: result(number) for number in part})


def row(width: int, number: int, dtype: str = "float32") -> Result:
    """Return the vector of a stub."""
    return (Rows(np.full((1, width), number % 97, dtype), np.zeros(1)),)


def decoded(number: int) -> Result:
    """Return frames and audio of a stub; the JPEG is invalid, but is never decoded."""
    frames = Rows([number.to_bytes(64, "little")], np.zeros(1))
    samples = np.full(160, number % 32_768, "int16")
    samples[:4] = np.frombuffer(number.to_bytes(8, "little"), "int16")
    return frames, Rows(samples, np.arange(160) / 16_000)


def cropped(number: int) -> Result:
    """Return the face crop of a stub."""
    columns = {"box": np.zeros((1, 4), "float32"), "score": np.ones(1, "float32")}
    return (Rows([number.to_bytes(48, "little")], np.zeros(1), columns, {"frames": 1, "faces": 1}),)


def digests(store: Path) -> list[str]:
    """Return the digest of each clip of a store."""
    with Store(store) as clips:
        return [clips.digest(clip_id) for clip_id in clips]


def add_a_clip(folder: Path, count: int) -> None:
    """Run all stages up to the features on `count` stubs and one real recording."""
    voice = folder / "voice.wav"
    rng = np.random.default_rng(0)
    soundfile.write(voice, rng.normal(0, 0.1, 16_000), 16_000)
    clips = [
        Clip(f"stub_{i:06}", audio="stub.wav", video="stub.mp4", split="unlabelled",
             sha256=hashlib.sha256(str(i).encode()).hexdigest())
        for i in range(count)
    ]  # fmt: skip
    real = Clip("real", audio=str(voice), split="unlabelled", sha256=sha256(voice))
    write_manifest([*clips, real], folder / "manifest.csv")
    columns = {"provider": "lexicon", "prompt_version": "1"}
    texts = [
        EnrichedText(clip_id=clip.clip_id, raw=f"stub {i}", enriched="", **columns)  # type: ignore[arg-type]
        for i, clip in enumerate([*clips, real])
    ]
    write_texts(texts, folder / "text.jsonl")
    with measure("filling the cache (a first run would have)"):
        fill(decoding_recipe(DecodeVideo()), [content_key(clip) for clip in clips], decoded)
    frames, audio, faces = (folder / f"{name}.h5" for name in ("frames", "audio", "faces"))
    with measure("decode_video"):
        decode_video(folder / "manifest.csv", frames, audio, DecodeVideo())
    with Store(frames) as store:
        recipe, _ = cropping_recipe(CropFaces(), store, Path("faces.h5"))
    fill(recipe, [content_key(clip) for clip in clips], cropped)
    with measure("crop_faces"):
        crop_faces(folder / "manifest.csv", frames, faces, CropFaces())
    for name, configured, store in (
        ("frame", ConfiguredEncoder(IMAGES, FRAMES), frames),
        ("face", ConfiguredEncoder(IMAGES, FACES), faces),
        ("audio", ConfiguredEncoder(AUDIO, AUDIO_CHOICE), audio),
    ):
        recipe = build_recipe(name, configured)
        fill(recipe, digests(store)[:-1], partial(row, configured.encoder.dim))
    text_keys = [hashlib.sha256(text.raw.encode()).hexdigest() for text in texts[:-1]]
    configured = ConfiguredEncoder(TEXT, TEXT_CHOICE)
    fill(build_recipe("text", configured), text_keys, partial(row, configured.encoder.dim))
    with measure("encode_frames"):
        encode_image_store("frame", FRAMES, frames, folder / "frame.h5", budget=0)
    with measure("encode_faces"):
        encode_image_store("face", FACES, faces, folder / "face.h5", budget=0)
    with measure("encode_audio"):
        encode_audio_store("audio", AUDIO_CHOICE, audio, folder / "voice.h5", budget=0)
    with measure("encode_text"):
        encode_transcripts(
            "text", TEXT_CHOICE, folder / "text.jsonl", folder / "words.h5", budget=0
        )
    with Store(folder / "voice.h5") as features:
        if len(features) != count + 1 or not features["real"].values.any():
            raise RuntimeError("the real clip was not encoded")


def never(_: object) -> Result:
    """Fail: a stub is never computed."""
    raise RuntimeError("a stub is not in the cache")


def write_store(folder: Path, count: int) -> None:
    """Plan and write a store of vectors."""
    recipe = PoolRecipe("vectors", (VECTOR,), {"made": "by scale.py"}, never)
    keys = [hashlib.sha256(f"vector {i}".encode()).hexdigest() for i in range(count)]
    fill(recipe, keys, partial(row, 1024, dtype="float16"))
    with measure("planning what is missing"):
        clips = [ClipInput(f"stub_{i:06}", key, partial(never, 0)) for i, key in enumerate(keys)]
        results = engine.run(recipe, clips)
    if results is None:
        raise RuntimeError("this is no shard")
    with (
        measure(f"a store of {count} x 1024 float16"),
        StoreWriter(folder / "vectors.h5", VECTOR, {}) as out,
    ):
        for clip_id, result in results:
            if isinstance(result, Failure):
                raise RuntimeError(result.reason)
            out.append(clip_id, result[0])


def main() -> int:
    """Measure, and print which claims hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--clips", type=int, default=132_171)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        os.environ["ECMF_CACHE"] = str(Path(folder) / "cache")
        write_store(Path(folder), arguments.clips)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        add_a_clip(Path(folder), arguments.clips)
    stages = [step for step in seconds if step.startswith(("decode", "crop", "encode"))]
    added = sum(seconds[step][1] for step in stages)
    planning = seconds["planning what is missing"][1]
    assembling = seconds[f"a store of {arguments.clips} x 1024 float16"][0]
    all_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    claims = {
        f"planning {planning:.1f} s, at most 60": planning <= 60,
        f"assembling {assembling:.1f} s of processor, at most 10": assembling <= 10,
        f"memory of both {memory / GIBIBYTE:.2f} GiB, at most 1": memory <= GIBIBYTE,
        f"one clip more, all stages {added:.1f} s, at most 90": added <= 90,
        f"memory of all stages {all_memory / GIBIBYTE:.2f} GiB, at most 1": all_memory <= GIBIBYTE,
    }
    for claim, holds in claims.items():
        print(f"{'holds' if holds else 'BROKEN'}: {claim}")
    return int(not all(claims.values()))


if __name__ == "__main__":
    sys.exit(main())
