"""Divide the clips among the jobs of an array: `--shard 2/8` is the second of eight jobs.

A shard is contiguous, so that the packs a job writes are later read in order.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

from ecmf.errors import ParamsError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """The `number`-th of `count` contiguous slices of nearly equal length."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse "2/8"; raises ParamsError if `text` is not a shard."""
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise ParamsError(f"--shard {text!r}: write i/n with i from 1 to n, e.g. 2/8")
        return cls(int(match[1]), int(match[2]))

    def __call__(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this slice of `items`; the `count` slices partition the items."""
        first, last = (len(items) * edge // self.count for edge in (self.number - 1, self.number))
        return items[first:last]

    def __str__(self) -> str:
        """Format as on the command line."""
        return f"{self.number}/{self.count}"
