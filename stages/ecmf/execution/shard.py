"""A share of the clips, for one of several jobs: `--shard 2/8` is the second of eight.

Neighbours stay together, so that what a job keeps is later read one after the other.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

from ecmf.errors import ParamsError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """The `number`-th of `count` stretches of nearly the same length."""

    number: int
    count: int

    @classmethod
    def of(cls, text: str) -> Self:
        """Read "2/8"; raises ParamsError for what is no share."""
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise ParamsError(f"--shard {text!r}: write i/n with i from 1 to n, e.g. 2/8")
        return cls(int(found[1]), int(found[2]))

    def __call__(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this share; all shares together are all items, and no two share one."""
        first, last = (len(items) * edge // self.count for edge in (self.number - 1, self.number))
        return items[first:last]

    def __str__(self) -> str:
        """As it is written on the command line."""
        return f"{self.number}/{self.count}"
