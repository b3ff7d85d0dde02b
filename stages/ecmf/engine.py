"""Apply an encoder to every clip: batches or processes, progress, failures, one store.

The encoder says what a clip's features are; everything about files, order and machines is here.
"""

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from itertools import islice, tee
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ecmf import plugins, workers
from ecmf.budget import check_budget
from ecmf.encoders.base import Encoder, Features
from ecmf.errors import ClipError, CorpusError
from ecmf.params import Choice
from ecmf.store import Layout, Rows, StoreWriter, no_rows
from ecmf.workers import Failure

CLIPS_PER_BATCH = 32

Clips = Iterable[tuple[str, Sized, str]]
"""Clip ids, what the encoder is to read (rows of a store, or a text), and why that may be empty."""


@dataclass(frozen=True)
class Recipe:
    """An encoder that is built where it runs, and how it sees a clip.

    `unpack` turns a clip id and its rows (or text) into the encoder's item; it is a function of a
    module, so that worker processes find it.
    """

    family: str
    choice: Choice
    unpack: Callable[[str, Any], Any]

    def encoder(self) -> Encoder[Any]:
        """Build the encoder, once per process."""
        return _encoder(
            self.family, self.choice.member, json.dumps(self.choice.options, sort_keys=True)
        )

    def __call__(self, clip: tuple[str, Sized, str]) -> Features:
        """Encode one clip."""
        return self.encoder()([self.unpack(*clip[:2])])[0]


@functools.cache
def _encoder(family: str, member: str, options: str) -> Encoder[Any]:
    encoder: Encoder[Any] = plugins.create(family, "Encoder", member, json.loads(options))
    return encoder


def encode(
    source: str, recipe: Recipe, clips: Clips, count: int, features: Path, budget: float
) -> None:
    """Encode the `count` clips with one encoder and write the store `features`.

    A clip with nothing to encode has no rows and says why; so has one the encoder refuses
    (ClipError), which is counted against `budget`, the share of clips that may fail.
    """
    encoder = recipe.encoder()
    layout = Layout((encoder.dim,))
    provenance = {
        "source": source,
        "member": recipe.choice.member,
        "options": recipe.choice.model_dump(exclude={"member"}, mode="json"),
        **encoder.provenance,
    }
    failures: dict[str, str] = {}
    filled = 0
    listed, asked = tee(clips)
    wanted = (clip for clip in asked if len(clip[1]) or not encoder.needs_rows)
    results = _in_batches(recipe, wanted) if encoder.uses_device else _in_workers(recipe, wanted)
    with StoreWriter(features, layout, provenance) as out:
        for clip_id, given, reason in tqdm(listed, source, total=count, unit="clip", disable=None):
            if not len(given) and encoder.needs_rows:
                out.append(clip_id, no_rows(layout, "empty", reason or "nothing to encode"))
                continue
            result = next(results)
            if isinstance(result, Failure):
                failures[clip_id] = result.reason
                out.append(clip_id, no_rows(layout, "failed", result.reason))
            elif len(result.values):
                out.append(clip_id, Rows(result.values, result.times))
                filled += 1
            else:
                out.append(clip_id, no_rows(layout, "empty", "the encoder found nothing to encode"))
        check_budget(failures, count, budget)
        if not encoder.needs_rows and not filled:
            raise CorpusError(
                f"{source}: none of the {count} clips is among the imported features: their ids "
                "must be the clip_id of the manifest"
            )


def _in_workers(recipe: Recipe, clips: Clips) -> Iterator[Features | Failure]:
    return workers.run(recipe, clips, workers=workers.count())


def _in_batches(recipe: Recipe, clips: Clips) -> Iterator[Features | Failure]:
    encoder = recipe.encoder()
    remaining = iter(clips)
    while batch := [recipe.unpack(*clip[:2]) for clip in islice(remaining, CLIPS_PER_BATCH)]:
        try:
            yield from encoder(batch)
        except ClipError:
            yield from _one_by_one(encoder, batch)


def _one_by_one(encoder: Encoder[Any], batch: Sequence[Any]) -> Iterator[Features | Failure]:
    for item in batch:
        try:
            yield encoder([item])[0]
        except ClipError as error:
            yield Failure(str(error))
