"""The encoder's loop against the plain forward of the same batches: what the engine costs.

    python benchmarks/encoder_loop.py [--clips 24] [--rounds 5]

Two networks with random weights, made on the spot: ViT-Tiny/16 and ViT-B/32. The loop reads JPEG
pictures from a store, opens and preprocesses them ahead of the network, fills batches and gives
rows per clip; the plain forward is the same network on the same batches, lying ready in memory.
Rounds alternate. Claim: the loop reaches at least 75 % of the plain forward's speed.
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
from ecmf.encoding.store_encoder import as_pictures
from ecmf.storage.files import sha256
from ecmf.storage.jpeg import encode_jpeg
from ecmf.storage.store import Layout, Rows, Store
from ecmf.storage.store_writer import StoreWriter

ENOUGH = 0.75
FRAMES = 16
NETWORKS = {
    "ViT-Tiny/16": ViTConfig(
        hidden_size=192, num_attention_heads=3, intermediate_size=768, patch_size=16
    ),
    "ViT-B/32": ViTConfig(patch_size=32),
}


def filmed(path: Path, clips: int) -> Path:
    """A store of pictures of 320 x 240 pixels, smooth enough to be of a usual length as JPEG."""
    rng = np.random.default_rng(0)
    with StoreWriter(path, Layout(jpeg=True), {}) as out:
        for number in range(clips):
            coarse = rng.integers(0, 255, (30, 40, 3), "uint8")
            picture = coarse.repeat(8, axis=0).repeat(8, axis=1)
            jpeg = [encode_jpeg(np.roll(picture, 5 * i, axis=1), 95) for i in range(FRAMES)]
            out.append(f"clip_{number}", Rows(jpeg, np.arange(FRAMES) / 4))
    return path


def measure(name: str, config: ViTConfig, folder: Path, clips: int, rounds: int) -> float:
    """Print and return the loop's speed as a share of the plain forward's."""
    weights = folder / name.replace("/", "_")
    ViTModel(config).save_pretrained(weights)
    ViTImageProcessorPil().save_pretrained(weights)
    options = {"folder": str(weights), "sha256": sha256(weights)}
    encoder = registry.create("encoders.image", "Encoder", "huggingface", options)
    ratios = []
    with Store(filmed(folder / "frames.h5", clips)) as store:
        reads = [(clip, partial(_read, store, clip)) for clip in store]
        pieces = [piece for _, read in reads for piece in encoder.pieces(read())]
        size = batching.PIECES_PER_BATCH
        ready = [
            {
                "pixel_values": np.stack(
                    [piece.inputs["pixel_values"] for piece in pieces[a : a + size]]
                )
            }
            for a in range(0, len(pieces), size)
        ]
        encoder.forward(ready[0])  # loads the weights
        for _ in range(rounds):
            start = time.perf_counter()
            for batch in ready:
                encoder.forward(batch)
            plain = time.perf_counter() - start
            start = time.perf_counter()
            found = len(list(batching.run(encoder, reads)))
            loop = time.perf_counter() - start
            ratios.append(plain / loop)
            if found != clips:
                raise RuntimeError(f"{found} of {clips} clips came through")
    middle = float(np.median(ratios))
    spread = f"{min(ratios):.0%} to {max(ratios):.0%}"
    print(f"{name:<12} loop {middle:.0%} of the plain forward ({spread})")
    return middle


def _read(store: Store, clip_id: str) -> object:
    return as_pictures(clip_id, store[clip_id])


def main() -> int:
    """Measure both networks; 1 where the loop is slower than claimed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        shares = [
            measure(name, config, Path(folder), given.clips, given.rounds)
            for name, config in NETWORKS.items()
        ]
    return int(min(shares) < ENOUGH)


if __name__ == "__main__":
    sys.exit(main())
