"""132,171 clips, as many as MER2025 has: what it costs to plan, to add one, to write a store.

    python benchmarks/scale.py [--clips 132171] [folder for some 2 GB]

The clips are stubs whose results stand in the cache already, as after a first run; all else is
real: the stages' own functions, their cache, their stores. Then one real recording is added.
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
from crop_faces import recipe_of as cropping
from decode_video import decode_video
from decode_video import recipe_of as decoding
from ecmf.data.enriched_text import EnrichedText, write_texts
from ecmf.data.manifest import Clip, write_manifest
from ecmf.decoding.clip_decoder import content_key
from ecmf.encoding.store_encoder import (
    PICTURES,
    SOUND,
    Named,
    encode_pictures,
    encode_sound,
    recipe_of,
)
from ecmf.encoding.text_views import TEXT, encode_transcripts
from ecmf.execution import engine, local
from ecmf.execution.process_pool import Failure
from ecmf.execution.recipe import Given, InProcesses, Recipe
from ecmf.params import AudioChoice, CropFaces, DecodeVideo, ImageChoice, TextChoice
from ecmf.storage.files import sha256
from ecmf.storage.store import Layout, Result, Rows, Store
from ecmf.storage.store_writer import StoreWriter

GIBIBYTE = 1 << 30
FRAMES = ImageChoice(member="colour_histogram")
FACES = ImageChoice(member="gradient_histogram")
VOICE = AudioChoice(member="librosa")
SAID = TextChoice(member="hashing")
VECTOR = Layout((1024,), "float16")

seconds: dict[str, tuple[float, float]] = {}
"""Step -> processor time and time on the clock."""


@contextmanager
def measured(step: str) -> Iterator[None]:
    """Note what a step takes."""
    processor, clock = time.process_time(), time.perf_counter()
    yield
    seconds[step] = time.process_time() - processor, time.perf_counter() - clock
    print(
        f"{step:<44} {seconds[step][0]:8.1f} s of processor {seconds[step][1]:8.1f} s", flush=True
    )


def fill(recipe: Recipe, keys: list[str], result: Callable[[int], Result]) -> None:
    """Put the results of stubs where those of a first run would be."""
    shelf = recipe.shelf()
    for first in range(0, len(keys), local.CLIPS_PER_PACK):
        part = range(first, min(first + local.CLIPS_PER_PACK, len(keys)))
        shelf.put({keys[number]: result(number) for number in part})


def row(width: int, number: int, dtype: str = "float32") -> Result:
    """One vector of a stub."""
    return (Rows(np.full((1, width), number % 97, dtype), np.zeros(1)),)


def film(number: int) -> Result:
    """Bytes that are no picture: nobody looks at them, for every face is in the cache."""
    frames = Rows([number.to_bytes(64, "little")], np.zeros(1))
    samples = np.full(160, number % 32_768, "int16")
    samples[:4] = np.frombuffer(number.to_bytes(8, "little"), "int16")
    return frames, Rows(samples, np.arange(160) / 16_000)


def face(number: int) -> Result:
    """One crop of a stub."""
    columns = {"box": np.zeros((1, 4), "float32"), "score": np.ones(1, "float32")}
    return (Rows([number.to_bytes(48, "little")], np.zeros(1), columns, {"frames": 1, "faces": 1}),)


def digests(store: Path) -> list[str]:
    """What the clips of a store are known by."""
    with Store(store) as opened:
        return [opened.digest(clip_id) for clip_id in opened]


def add_a_clip(folder: Path, count: int) -> None:
    """All stages up to the features, for `count` stubs and one real recording."""
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
    said = {"provider": "lexicon", "prompt_version": "1"}
    texts = [
        EnrichedText(clip_id=clip.clip_id, raw=f"stub {i}", enriched="", **said)  # type: ignore[arg-type]
        for i, clip in enumerate([*clips, real])
    ]
    write_texts(texts, folder / "text.jsonl")
    with measured("filling the cache (a first run would have)"):
        fill(decoding(DecodeVideo()), [content_key(clip) for clip in clips], film)
    frames, audio, faces = (folder / f"{name}.h5" for name in ("frames", "audio", "faces"))
    with measured("decode_video"):
        decode_video(folder / "manifest.csv", frames, audio, DecodeVideo())
    fill(cropping(CropFaces())[0], digests(frames)[:-1], face)
    with measured("crop_faces"):
        crop_faces(frames, faces, CropFaces())
    for name, named, store in (
        ("frame", Named(PICTURES, FRAMES), frames),
        ("face", Named(PICTURES, FACES), faces),
        ("audio", Named(SOUND, VOICE), audio),
    ):
        recipe = recipe_of(name, named)
        fill(recipe, digests(store)[:-1], partial(row, named.encoder.dim))
    said_keys = [hashlib.sha256(text.raw.encode()).hexdigest() for text in texts[:-1]]
    named = Named(TEXT, SAID)
    fill(recipe_of("text", named), said_keys, partial(row, named.encoder.dim))
    with measured("encode_frames"):
        encode_pictures("frame", FRAMES, frames, folder / "frame.h5", budget=0)
    with measured("encode_faces"):
        encode_pictures("face", FACES, faces, folder / "face.h5", budget=0)
    with measured("encode_audio"):
        encode_sound("audio", VOICE, audio, folder / "voice.h5", budget=0)
    with measured("encode_text"):
        encode_transcripts("text", SAID, folder / "text.jsonl", folder / "said.h5", budget=0)
    with Store(folder / "voice.h5") as features:
        if len(features) != count + 1 or not features["real"].values.any():
            raise RuntimeError("the real clip was not encoded")


def never(_: object) -> Result:
    """Fail: a stub is never worked out."""
    raise RuntimeError("everything is in the cache")


def put_together(folder: Path, count: int) -> None:
    """Plan and write one store of vectors."""
    recipe = InProcesses("vectors", (VECTOR,), {"made": "by scale.py"}, never)
    keys = [hashlib.sha256(f"vector {i}".encode()).hexdigest() for i in range(count)]
    fill(recipe, keys, partial(row, 1024, dtype="float16"))
    with measured("planning what is missing"):
        clips = [Given(f"stub_{i:06}", key, partial(never, 0)) for i, key in enumerate(keys)]
        results = engine.apply(recipe, clips)
    if results is None:
        raise RuntimeError("this is no share")
    with (
        measured(f"a store of {count} x 1024 float16"),
        StoreWriter(folder / "vectors.h5", VECTOR, {}) as out,
    ):
        for clip_id, result in results:
            if isinstance(result, Failure):
                raise RuntimeError(result.reason)
            out.append(clip_id, result[0])


def main() -> int:
    """Measure, and say which claims hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--clips", type=int, default=132_171)
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        os.environ["ECMF_CACHE"] = str(Path(folder) / "cache")
        put_together(Path(folder), given.clips)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        add_a_clip(Path(folder), given.clips)
    stages = [step for step in seconds if step.startswith(("decode", "crop", "encode"))]
    added = sum(seconds[step][1] for step in stages)
    planning = seconds["planning what is missing"][1]
    assembling = seconds[f"a store of {given.clips} x 1024 float16"][0]
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
