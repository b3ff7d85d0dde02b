"""An encoder of a branch's table, applied to what stands in a store."""

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ecmf import registry
from ecmf.encoding import batching
from ecmf.encoding.base import Encoder
from ecmf.encoding.network import Network
from ecmf.errors import CorpusError
from ecmf.execution import code_fingerprint, device, engine
from ecmf.execution.engine import Results
from ecmf.execution.error_budget import check_budget
from ecmf.execution.process_pool import Failure
from ecmf.execution.recipe import Given, InProcesses, Read, Recipe
from ecmf.execution.shard import Shard
from ecmf.media import Features, Pictures, Sound, Text
from ecmf.params import Choice
from ecmf.storage.jpeg import decode_jpeg
from ecmf.storage.store import Layout, Result, Rows, Store, no_rows
from ecmf.storage.store_writer import StoreWriter

LOCATIONS = frozenset({"folder", "front_end", "model", "path", "repository", "revision", "weights"})
"""Options that say where weights lie: their hash or commit stands in every provenance."""


@dataclass(frozen=True)
class Branch:
    """A family of encoders, and how what is stored of a clip becomes what they read."""

    family: str
    item: Callable[[str, Any], Any]
    code: str = ""
    """Module, beside the encoder's own, that decides what an encoder sees."""

    packages: tuple[str, ...] = ()
    """Packages that do."""


@dataclass(frozen=True)
class Named:
    """An encoder by its member and options, built once in every process that asks for it."""

    branch: Branch
    choice: Choice

    @property
    def encoder(self) -> Encoder[Any] | Network[Any]:
        """The encoder itself."""
        options = json.dumps(self.choice.options, sort_keys=True)
        return _encoder(self.branch.family, self.choice.member, options)

    @property
    def layout(self) -> Layout:
        """Layout of its rows."""
        dtype = self.encoder.dtype if isinstance(self.encoder, Network) else "float32"
        return Layout((self.encoder.dim,), dtype)

    @property
    def provenance(self) -> dict[str, Any]:
        """What fixes the numbers: kept with the features."""
        options = self.choice.model_dump(exclude={"member"}, mode="json")
        return {"member": self.choice.member, "options": options, **self.encoder.provenance}

    @property
    def identity(self) -> dict[str, Any]:
        """What fixes the bits: kept with the cached results. The view is part of the clip."""
        modules = [f"ecmf.{self.branch.family}.{self.choice.member}", self.branch.code]
        identity: dict[str, Any] = {
            "member": self.choice.member,
            "options": {k: v for k, v in self.choice.options.items() if k not in LOCATIONS},
            "provenance": dict(self.encoder.provenance),
            "code": code_fingerprint.of(*filter(None, modules)),
            "versions": {name: version(name) for name in self.branch.packages},
        }
        if isinstance(self.encoder, Network):
            identity["pieces_per_batch"] = batching.PIECES_PER_BATCH
            identity["device"] = device.requested().partition(":")[0]
        return identity

    def item(self, clip: tuple[str, Any]) -> Any:
        """Make what the encoder reads of a clip id and what is stored under it."""
        return self.branch.item(*clip)

    def result(self, features: Features) -> Result:
        """Make rows of features."""
        if not len(features.values):
            return (no_rows(self.layout, "empty", "the encoder found nothing to encode"),)
        return (Rows(features.values, features.times),)

    def __call__(self, clip: tuple[str, Any]) -> Result:
        """Encode one clip."""
        return self.result(batching.encode(self.encoder, [self.item(clip)])[0])


@functools.cache
def _encoder(family: str, member: str, options: str) -> Encoder[Any] | Network[Any]:
    encoder: Encoder[Any] | Network[Any] = registry.create(
        family, "Encoder", member, json.loads(options)
    )
    return encoder


@dataclass(frozen=True)
class InBatches(Recipe):
    """The recipe of a network: pieces of many clips share its batches, in this process."""

    named: Named

    @property
    def on_device(self) -> bool:
        """It computes on the GPU, where there is one."""
        return device.requested() != "cpu"

    def __call__(
        self, items: Iterable[tuple[str, Read]], processes: int
    ) -> Iterator[tuple[str, Result | Failure]]:
        """Yield the results as they come; `processes` is no matter to a network."""
        network = self.named.encoder
        if not isinstance(network, Network):
            raise TypeError(f"{self.name} has no network")
        wanted = ((key, functools.partial(self._item, read)) for key, read in items)
        for key, features in batching.run(network, wanted):
            yield key, features if isinstance(features, Failure) else self.named.result(features)

    def _item(self, read: Read) -> Any:
        return self.named.item(read())


def as_pictures(clip_id: str, rows: Rows) -> Pictures:
    """Open the JPEG files of a clip."""
    return Pictures(clip_id, [decode_jpeg(picture) for picture in rows.values], rows.times)


def as_sound(clip_id: str, rows: Rows) -> Sound:
    """Hold the waveform of a clip."""
    return Sound(clip_id, rows.values)  # type: ignore[arg-type]


PICTURES = Branch("encoders.image", as_pictures, "ecmf.storage.jpeg", ("opencv-python", "numpy"))
SOUND = Branch("encoders.audio", as_sound, packages=("librosa", "numpy", "scipy"))


def encode_pictures(
    source: str,
    choice: Choice,
    pictures: Path,
    features: Path,
    budget: float,
    shard: Shard | None = None,
) -> None:
    """Encode a store of frames or of face crops."""
    _encode_store(source, Named(PICTURES, choice), pictures, features, budget, shard)


def encode_sound(
    source: str,
    choice: Choice,
    audio: Path,
    features: Path,
    budget: float,
    shard: Shard | None = None,
) -> None:
    """Encode a store of waveforms."""
    _encode_store(source, Named(SOUND, choice), audio, features, budget, shard)


def encode(
    source: str,
    named: Named,
    views: Sequence[Sequence[Given]],
    features: Path,
    budget: float,
    shard: Shard | None = None,
) -> None:
    """Encode the clips with one encoder and write the store `features`, or fill a shard's cache.

    Each of the `views` is all clips, seen in another way: a clip's rows of all views come to stand
    side by side.

    A clip with nothing to encode has no rows and says why; so has one the encoder refuses
    (ClipError), which is counted against `budget`, the share of clips that may fail.
    """
    layout = replace(named.layout, shape=(named.encoder.dim * len(views),))
    clips = views[0]
    results: Iterable[tuple[str, Result | Failure]] | None
    if named.encoder.needs_rows:
        recipe = recipe_of(source, named)
        results = _side_by_side([engine.apply(recipe, view, shard) for view in views], layout)
    else:
        results = None if shard else _looked_up(source, named, clips)
    if results is None:
        return
    failures: dict[str, str] = {}
    filled = False
    with StoreWriter(features, layout, {"source": source, **named.provenance}) as out:
        for clip_id, result in results:
            if isinstance(result, Failure):
                failures[clip_id] = result.reason
                result = (no_rows(layout, "failed", result.reason),)
            filled = filled or bool(len(result[0]))
            out.append(clip_id, result[0])
        check_budget(failures, len(clips), budget)
        if not named.encoder.needs_rows and not filled:
            raise CorpusError(
                f"{source}: none of the {len(clips)} clips is among the imported features: their "
                "ids must be the clip_id of the manifest"
            )


def recipe_of(source: str, named: Named) -> Recipe:
    """What is done with a clip, in worker processes or in the batches of a network."""
    shape = (source, (named.layout,), named.identity)
    if isinstance(named.encoder, Network):
        return InBatches(*shape, named)
    return InProcesses(*shape, named)


def _side_by_side(
    views: Sequence[Results | None], layout: Layout
) -> Iterable[tuple[str, Result | Failure]] | None:
    """Join the results of each clip; none where a side has none, for half a row is no row."""
    found = [view for view in views if view is not None]
    if len(found) < len(views):  # only the share of a shard was worked out
        return None
    return found[0] if len(found) == 1 else _joined(found, layout)


def _joined(
    views: Sequence[Iterable[tuple[str, Result | Failure]]], layout: Layout
) -> Iterator[tuple[str, Result | Failure]]:
    for sides in zip(*views, strict=True):
        clip_id = sides[0][0]
        results = [result for _, result in sides]
        whole = [result[0] for result in results if not isinstance(result, Failure)]
        lacking = [rows for rows in whole if not len(rows)]
        if len(whole) < len(results):
            yield clip_id, next(result for result in results if isinstance(result, Failure))
        elif lacking:
            yield clip_id, (no_rows(layout, "empty", lacking[0].reason),)
        else:
            values = np.hstack([np.asarray(rows.values) for rows in whole])
            yield clip_id, (Rows(values, whole[0].times),)


def _looked_up(
    source: str, named: Named, clips: Sequence[Given]
) -> Iterator[tuple[str, Result | Failure]]:
    """Look all clips up by their ids, also those with nothing to encode; no cache is needed."""
    for clip in tqdm(clips, source, unit="clip", disable=None):
        (features,) = batching.encode(named.encoder, [Text(clip.clip_id, "")])
        yield clip.clip_id, named.result(features)


def _encode_store(
    source: str, named: Named, given: Path, features: Path, budget: float, shard: Shard | None
) -> None:
    with Store(given) as store:
        clips = [_stored(named, store, clip_id) for clip_id in store]
        encode(source, named, [clips], features, budget, shard)


def _stored(named: Named, store: Store, clip_id: str) -> Given:
    reason = store.state(clip_id)[1]
    return Given(
        clip_id,
        store.digest(clip_id),
        functools.partial(_rows, store, clip_id),
        None if store.count(clip_id) else nothing(named, reason),
    )


def nothing(named: Named, reason: str) -> Result:
    """Make the result of a clip that an encoder is not even shown."""
    return (no_rows(named.layout, "empty", reason or "nothing to encode"),)


def _rows(store: Store, clip_id: str) -> tuple[str, Rows]:
    return clip_id, store[clip_id]
