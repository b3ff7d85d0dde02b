"""Damage files as disks, transfers and strangers do; a seed always gives the same mutant."""

from collections.abc import Callable

import numpy as np

Damage = Callable[[bytearray, np.random.Generator], None]

EXTREMES = (b"\x00" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\x00\x00\x00")
"""32-bit numbers that break calculations of lengths and offsets."""

LONGEST_RUN = 2048


def _place(content: bytearray, rng: np.random.Generator) -> tuple[int, int]:
    begin = int(rng.integers(len(content)))
    return begin, min(begin + int(rng.integers(1, LONGEST_RUN)), len(content))


def flip_bits(content: bytearray, rng: np.random.Generator) -> None:
    for place in rng.integers(len(content), size=int(rng.integers(1, 9))):
        content[place] ^= 1 << int(rng.integers(8))


def noise(content: bytearray, rng: np.random.Generator) -> None:
    begin, end = _place(content, rng)
    content[begin:end] = rng.bytes(end - begin)


def zeros(content: bytearray, rng: np.random.Generator) -> None:
    begin, end = _place(content, rng)
    content[begin:end] = bytes(end - begin)


def cut_end(content: bytearray, rng: np.random.Generator) -> None:
    del content[int(rng.integers(len(content))) :]


def cut_out(content: bytearray, rng: np.random.Generator) -> None:
    begin, end = _place(content, rng)
    del content[begin:end]


def repeat(content: bytearray, rng: np.random.Generator) -> None:
    begin, end = _place(content, rng)
    content[end:end] = content[begin:end]


def move(content: bytearray, rng: np.random.Generator) -> None:
    begin, end = _place(content, rng)
    run = content[begin:end]
    del content[begin:end]
    target = int(rng.integers(len(content) + 1))
    content[target:target] = run


def extreme_number(content: bytearray, rng: np.random.Generator) -> None:
    """Overwrite a number, more often one of the header."""
    begin = int(len(content) * rng.random() ** 3)
    content[begin : begin + 4] = EXTREMES[rng.integers(len(EXTREMES))]


DAMAGES: tuple[Damage, ...] = (
    flip_bits, noise, zeros, cut_end, cut_out, repeat, move, extreme_number,
)  # fmt: skip


def mutant(content: bytes, seed: int) -> bytes:
    """Damage a file in one of the ways of DAMAGES, in turn."""
    damaged = bytearray(content)
    DAMAGES[seed % len(DAMAGES)](damaged, np.random.default_rng(seed))
    return bytes(damaged)
