"""Compare the speed of the encoding loop with plain forward passes of the same batches.

    python benchmarks/encoder_loop.py [--clips 24] [--rounds 5]

Two generated networks with random weights: ViT-Tiny/16 and ViT-B/32. The loop reads JPEG images
from a store, decodes and preprocesses them ahead of the network, fills batches and yields rows per
clip; the plain forward is the same network on the same batches, prepared in memory. Rounds
alternate. Claim: the loop reaches at least 75 % of the plain forward's speed.
"""

import argparse
import logging
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "stages"))

from transformers import ViTConfig, ViTImageProcessorPil, ViTModel

from ecmf import registry
from ecmf.encoding import batching
from ecmf.encoding.store_encoder import to_images
from ecmf.storage.files import sha256
from ecmf.storage.jpeg import encode_jpeg
from ecmf.storage.store import Layout, Rows, Store
from ecmf.storage.store_writer import StoreWriter

MIN_SPEED = 0.75
FRAMES = 16
NETWORKS = {
    "ViT-Tiny/16": ViTConfig(
        hidden_size=192, num_attention_heads=3, intermediate_size=768, patch_size=16
    ),
    "ViT-B/32": ViTConfig(patch_size=32),
}


def write_frames(path: Path, clips: int) -> Path:
    """Write a store of images of 320 x 240 pixels, as smooth as photographs for JPEG."""
    rng = np.random.default_rng(0)
    with StoreWriter(path, Layout(jpeg=True), {}) as out:
        for number in range(clips):
            coarse = rng.integers(0, 255, (30, 40, 3), "uint8")
            image = coarse.repeat(8, axis=0).repeat(8, axis=1)
            jpeg = [encode_jpeg(np.roll(image, 5 * i, axis=1), 95) for i in range(FRAMES)]
            out.append(f"clip_{number}", Rows(jpeg, np.arange(FRAMES) / 4))
    return path


def measure(name: str, config: ViTConfig, folder: Path, clips: int, rounds: int) -> float:
    """Print and return the loop's speed as a fraction of the plain forward's."""
    weights = folder / name.replace("/", "_")
    ViTModel(config).save_pretrained(weights)
    ViTImageProcessorPil().save_pretrained(weights)
    options = {"folder": str(weights), "sha256": sha256(weights)}
    encoder = registry.build("encoders.image", "Encoder", "huggingface", options)
    ratios = []
    with Store(write_frames(folder / "frames.h5", clips)) as store:
        reads = [(clip, partial(_read, store, clip)) for clip in store]
        chunks = [chunk for _, read in reads for chunk in encoder.split(read())]
        size = batching.CHUNKS_PER_BATCH
        batches = [
            {
                "pixel_values": np.stack(
                    [chunk.inputs["pixel_values"] for chunk in chunks[a : a + size]]
                )
            }
            for a in range(0, len(chunks), size)
        ]
        encoder.forward(batches[0])  # loads the weights
        for _ in range(rounds):
            start = time.perf_counter()
            for batch in batches:
                encoder.forward(batch)
            plain = time.perf_counter() - start
            start = time.perf_counter()
            encoded = len(list(batching.run(encoder, reads)))
            loop = time.perf_counter() - start
            ratios.append(plain / loop)
            if encoded != clips:
                raise RuntimeError(f"{encoded} of {clips} clips were encoded")
    speed = float(np.median(ratios))
    spread = f"{min(ratios):.0%} to {max(ratios):.0%}"
    print(f"{name:<12} loop {speed:.0%} of the plain forward ({spread})")
    return speed


def _read(store: Store, clip_id: str) -> object:
    return to_images(clip_id, store[clip_id])


def main() -> int:
    """Measure both networks; return 1 if the loop is slower than claimed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        speeds = [
            measure(name, config, Path(folder), arguments.clips, arguments.rounds)
            for name, config in NETWORKS.items()
        ]
    return int(min(speeds) < MIN_SPEED)


if __name__ == "__main__":
    sys.exit(main())
