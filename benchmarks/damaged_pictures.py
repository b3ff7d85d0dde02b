"""Count wrong pictures that a damaged video gives without a flag.

`python benchmarks/damaged_pictures.py [--mutants 300]`, from the project's root. Each mutant is an
mp4 of H.264 in whose video 1 to 8 bits are flipped, or a run of bytes is noise or zero; the
container is intact, so only the pictures can show it. A picture is wrong if its PSNR is below 30 dB
against the intact file's picture of that moment. For each decoder: mutants whose clip has failed,
is flagged, or is `whole` with right and with wrong pictures.

It fails if a clip raises an exception, or if more than MAX_SILENT of the mutants are whole with a
wrong picture. FFmpeg reports a flipped bit only where the bits after it are no valid code.
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "stages"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/support"))

from filming import film
from mutants import flip_bits, noise, zeros

from ecmf.data.manifest import Clip
from ecmf.decoding.clip_decoder import ClipDecoder
from ecmf.params import DecodeVideo
from ecmf.storage.jpeg import decode_jpeg

FRAMES, WIDTH, HEIGHT, SAMPLED = 50, 160, 120, 16
MAX_SILENT = 0.1
MIN_PSNR = 30.0
"""Decibels of a picture against the intact file's; below it, blocks are visibly elsewhere."""


def moving_texture() -> list[NDArray[np.uint8]]:
    """Draw a texture that moves, with the spectrum of photographs: amplitudes fall as 1 / f."""
    rng = np.random.default_rng(0)
    shape = HEIGHT + 2 * FRAMES, WIDTH + 2 * FRAMES
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    frequency[0, 0] = np.inf
    layers = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((3, *shape))) / frequency, shape)
    texture = (118 + 45 * layers / layers.std()).clip(0, 255).astype("uint8").transpose(1, 2, 0)
    return [texture[n : n + HEIGHT, 2 * n : 2 * n + WIDTH] for n in range(FRAMES)]


def mutate(source: Path, target: Path, seed: int) -> None:
    """Copy the file with damage in the data of one packet of its video."""
    content = bytearray(source.read_bytes())
    rng = np.random.default_rng(seed)
    with av.open(source) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    packet = packets[rng.integers(len(packets))]
    begin, end = packet.pos + 8, packet.pos + packet.size  # behind the length of the first unit
    data = content[begin:end]
    (flip_bits, flip_bits, noise, zeros)[seed % 4](data, rng)
    content[begin:end] = data
    target.write_bytes(content)


def decode(path: Path, decoder: str, frames: int = SAMPLED) -> tuple[str, dict[int, NDArray]]:
    """Return the state of the frames, and the pictures by their number."""
    params = DecodeVideo(decoder=decoder, frames=frames, jpeg_quality=95)
    rows = ClipDecoder(params)(Clip("clip", video=str(path))).frames
    numbers = np.rint(rows.times * 25).astype(int).tolist()
    return rows.state, dict(zip(numbers, map(decode_jpeg, rows.values), strict=True))


def psnr(picture: NDArray[np.uint8], original: NDArray[np.uint8]) -> float:
    """Return the signal-to-noise ratio in decibels."""
    error = ((picture.astype(float) - original) ** 2).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-3)))


def outcome(path: Path, decoder: str, intact: dict[int, NDArray[np.uint8]]) -> str:
    """Name what became of a mutant."""
    state, pictures = decode(path, decoder)
    wrong = [
        number
        for number, picture in pictures.items()
        if number not in intact or psnr(picture, intact[number]) < MIN_PSNR
    ]
    return f"{state}, {'wrong' if wrong else 'right'}" if state == "whole" else state


def main() -> int:
    """Print the table, and return 1 if the claim does not hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mutants", type=int, default=300)
    mutants = parser.parse_args().mutants
    silent = 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = film(folder / "source.mp4", images=moving_texture())
        for decoder in ("decord", "pyav"):
            _, intact = decode(source, decoder, FRAMES)
            found: Counter[str] = Counter()
            for seed in range(mutants):
                mutate(source, folder / "mutant.mp4", seed)
                found[outcome(folder / "mutant.mp4", decoder, intact)] += 1
            print(decoder, dict(found))
            silent = max(silent, found["whole, wrong"] / mutants)
    print(f"at most {MAX_SILENT:.0%} are whole with a wrong picture: {silent:.1%}")
    return int(silent > MAX_SILENT)


if __name__ == "__main__":
    sys.exit(main())
