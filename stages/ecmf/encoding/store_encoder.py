"""Apply an encoder of a branch's table to the clips of a store."""

import functools
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ecmf import registry
from ecmf.encoding import batching
from ecmf.encoding.base import Encoder
from ecmf.encoding.network import Network
from ecmf.encoding.thinning import Thinning, sum_if_known
from ecmf.errors import CorpusError
from ecmf.execution import code_fingerprint, device, engine
from ecmf.execution.engine import Results
from ecmf.execution.process_pool import Failure
from ecmf.execution.recipe import ClipInput, Load, PoolRecipe, Recipe
from ecmf.execution.result_writer import OutputStore, ResultWriter
from ecmf.execution.shard import Shard
from ecmf.media import Audio, Features, Images, Text
from ecmf.params import Choice
from ecmf.storage.jpeg import decode_jpeg
from ecmf.storage.store import Layout, Result, Rows, Store, no_rows

WEIGHT_LOCATIONS = frozenset(
    {"folder", "front_end", "model", "path", "repository", "revision", "weights"}
)
"""Options that locate weights. They are not part of a cache's identity: the provenance has the hash
or commit of the weights."""

THINNING_OPTIONS = tuple(field.name for field in fields(Thinning))

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Modality:
    """A family of encoders, and the conversion of stored clips to their input."""

    family: str
    to_input: Callable[[str, Any], Any]
    """Converts a clip id and its stored content to the input of an encoder."""

    code: str = ""
    """Module that determines the input of an encoder."""

    packages: tuple[str, ...] = ()
    """Packages that determine the input."""


@dataclass(frozen=True)
class ConfiguredEncoder:
    """An encoder by name and options, built once per process."""

    modality: Modality
    choice: Choice

    @property
    def encoder(self) -> Encoder[Any] | Network[Any]:
        """The encoder."""
        options = json.dumps(self.choice.options, sort_keys=True)
        return _encoder(self.modality.family, self.choice.encoder, options)

    @property
    def thinning(self) -> Thinning:
        """Limits on the rows of a clip."""
        return Thinning(self.choice.row_seconds, self.choice.max_rows)

    @property
    def layout(self) -> Layout:
        """Layout of its rows."""
        dtype = self.encoder.dtype if isinstance(self.encoder, Network) else "float32"
        return Layout((self.encoder.dim,), dtype)

    @property
    def provenance(self) -> dict[str, Any]:
        """Everything that determines the features, stored with them."""
        unset = {name for name in THINNING_OPTIONS if getattr(self.choice, name) is None}
        options = self.choice.model_dump(exclude={"encoder", *unset}, mode="json")
        return {"plugin": self.choice.encoder, "options": options, **self.encoder.provenance}

    @property
    def identity(self) -> dict[str, Any]:
        """Everything but the clip, with its view, that determines a cached result to the bit.

        Results are cached thinned: all steps of a speech network would fill the disk that thinning
        spares.
        """
        modules = [f"ecmf.{self.modality.family}.{self.choice.encoder}", self.modality.code]
        if self.thinning:
            modules.append("ecmf.encoding.thinning")
        identity: dict[str, Any] = {
            "encoder": self.choice.encoder,
            "options": {k: v for k, v in self.choice.options.items() if k not in WEIGHT_LOCATIONS},
            "provenance": dict(self.encoder.provenance),
            "code": code_fingerprint.hash_modules(*filter(None, modules)),
            "versions": {name: version(name) for name in self.modality.packages},
        }
        if self.thinning:
            identity["thinning"] = asdict(self.thinning)
        if isinstance(self.encoder, Network):
            identity["chunks_per_batch"] = batching.CHUNKS_PER_BATCH
            identity["device"] = device.requested().partition(":")[0]
        return identity

    def result(self, features: Features) -> Result:
        """Thin features and convert them to rows of a store."""
        features = self.thinning(features)
        if not len(features.values):
            return self.empty_result("the encoder found nothing to encode")
        return (Rows(features.values, features.times),)

    def empty_result(self, reason: str) -> Result:
        """Return the result of a clip without content."""
        return (no_rows(self.layout, "empty", reason or "nothing to encode"),)

    def __call__(self, clip: tuple[str, Any]) -> Result:
        """Encode one clip from its id and its stored content."""
        return self.result(batching.encode(self.encoder, [self.modality.to_input(*clip)])[0])


@functools.cache
def _encoder(family: str, name: str, options: str) -> Encoder[Any] | Network[Any]:
    encoder: Encoder[Any] | Network[Any] = registry.build(
        family, "Encoder", name, json.loads(options)
    )
    return encoder


@dataclass(frozen=True)
class BatchedRecipe(Recipe):
    """Recipe of a network: chunks of many clips share its batches, in this process."""

    configured: ConfiguredEncoder

    @property
    def on_device(self) -> bool:
        """A network computes on the GPU if one is requested."""
        return device.requested() != "cpu"

    def __call__(
        self, items: Iterable[tuple[str, Load]], processes: int
    ) -> Iterator[tuple[str, Result | Failure]]:
        """Yield the results as they are computed; `processes` is ignored."""
        network = self.configured.encoder
        if not isinstance(network, Network):
            raise TypeError(f"{self.name} has no network")
        inputs = ((key, functools.partial(self._load_input, load)) for key, load in items)
        for key, features in batching.run(network, inputs):
            if isinstance(features, Failure):
                yield key, features
            else:
                yield key, self.configured.result(features)

    def _load_input(self, load: Load) -> Any:
        return self.configured.modality.to_input(*load())


def to_images(clip_id: str, rows: Rows) -> Images:
    """Decode the JPEG files of a clip."""
    return Images(clip_id, [decode_jpeg(image) for image in rows.values], rows.times)


def to_audio(clip_id: str, rows: Rows) -> Audio:
    """Wrap the waveform of a clip."""
    return Audio(clip_id, rows.values)  # type: ignore[arg-type]


IMAGES = Modality("encoders.image", to_images, "ecmf.storage.jpeg", ("opencv-python", "numpy"))
AUDIO = Modality("encoders.audio", to_audio, packages=("librosa", "numpy", "scipy"))


def encode(
    source: str,
    configured: ConfiguredEncoder,
    views: Sequence[Sequence[ClipInput]],
    features: Path,
    budget: float,
    shard: Shard | None = None,
    rows_at_most: int | None = None,
) -> None:
    """Encode the clips with one encoder and write the store `features`, or fill a shard's cache.

    A clip with nothing to encode has no row and a reason. A clip that cannot be encoded (ClipError)
    has no row either, and counts against `budget`.

    Args:
        source: Name of the features, e.g. "face/clip".
        configured: The encoder.
        views: All clips in each view; the rows of all views are concatenated.
        features: The store to write.
        budget: Fraction of the clips that may fail.
        shard: Encode only these clips, into the cache.
        rows_at_most: Largest number of rows of all clips; None if it is unknown.
    """
    layout = replace(configured.layout, shape=(configured.encoder.dim * len(views),))
    clips = views[0]
    _log_largest_store(source, layout, len(clips), rows_at_most)
    results: Iterable[tuple[str, Result | Failure]] | None
    if configured.encoder.reads_media:
        recipe = build_recipe(source, configured)
        results = concatenate_views([engine.run(recipe, view, shard) for view in views], layout)
    else:
        results = None if shard else _lookup_all(source, configured, clips)
    if results is None:
        return
    output = OutputStore(features, layout, {"source": source, **configured.provenance})
    with ResultWriter(output) as out:
        out.write(results, budget)
        if not configured.encoder.reads_media and not out.rows:
            raise CorpusError(
                f"{source}: the imported features have none of the {len(clips)} clips: their ids "
                "must be the clip_id of the manifest"
            )


def _log_largest_store(source: str, layout: Layout, clips: int, rows: int | None) -> None:
    """Log the bytes that the values of a store take at most, before the work on it begins."""
    if rows is None:
        log.info("%s: %d clips of any number of rows: max_rows limits them", source, clips)
        return
    (dim,), width = layout.shape, np.dtype(layout.dtype).itemsize
    log.info(
        "%s: the features take at most %.4g GB on disk, and as much in the cache: %d clips, %d "
        "rows x %d numbers x %d bytes",
        source, rows * dim * width / 1e9, clips, rows, dim, width,
    )  # fmt: skip


def build_recipe(source: str, configured: ConfiguredEncoder) -> Recipe:
    """Build the recipe that encodes a clip, in worker processes or in the batches of a network."""
    common = (source, (configured.layout,), configured.identity)
    if isinstance(configured.encoder, Network):
        return BatchedRecipe(*common, configured)
    return PoolRecipe(*common, configured)


def concatenate_views(
    views: Sequence[Results | None], layout: Layout
) -> Iterable[tuple[str, Result | Failure]] | None:
    """Concatenate the views of each clip. A clip that is empty in one view is empty in all.

    Returns None if a view is None, i.e. if only a shard was encoded.
    """
    complete = [view for view in views if view is not None]
    if len(complete) < len(views):
        return None
    return complete[0] if len(complete) == 1 else _concatenate(complete, layout)


def _concatenate(
    views: Sequence[Iterable[tuple[str, Result | Failure]]], layout: Layout
) -> Iterator[tuple[str, Result | Failure]]:
    for parts in zip(*views, strict=True):
        clip_id = parts[0][0]
        results = [result for _, result in parts]
        rows = [result[0] for result in results if not isinstance(result, Failure)]
        empty = [part for part in rows if not len(part)]
        if len(rows) < len(results):
            yield clip_id, next(result for result in results if isinstance(result, Failure))
        elif empty:
            yield clip_id, (no_rows(layout, "empty", empty[0].reason),)
        else:
            values = np.hstack([np.asarray(part.values) for part in rows])
            yield clip_id, (Rows(values, rows[0].times),)


def _lookup_all(
    source: str, configured: ConfiguredEncoder, clips: Sequence[ClipInput]
) -> Iterator[tuple[str, Result | Failure]]:
    """Look up all clips by id, also those with nothing to encode, without the cache."""
    for clip in tqdm(clips, source, unit="clip", disable=None):
        (features,) = batching.encode(configured.encoder, [Text(clip.clip_id, "")])
        yield clip.clip_id, configured.result(features)


def _encode_store(
    modality: Modality,
    source: str,
    choice: Choice,
    path: Path,
    features: Path,
    budget: float,
    shard: Shard | None = None,
) -> None:
    configured = ConfiguredEncoder(modality, choice)
    with Store(path) as store:
        clips = [_clip_input(configured, store, clip_id) for clip_id in store]
        rows = sum_if_known(_rows_at_most(configured, store, clip_id) for clip_id in store)
        encode(source, configured, [clips], features, budget, shard, rows)


def _rows_at_most(configured: ConfiguredEncoder, store: Store, clip_id: str) -> int | None:
    """Return the largest number of rows of a clip: at most one per image, unknown for audio."""
    count, rate = store.count(clip_id), store.layout.rate
    if not configured.encoder.reads_media:
        return configured.thinning.rows_at_most(None)
    if not count:
        return 0
    if rate is None:
        return configured.thinning.rows_at_most(count)
    return configured.thinning.rows_at_most(None, count / rate)


encode_image_store = functools.partial(_encode_store, IMAGES)
"""Encode a store of frames or of face crops."""

encode_audio_store = functools.partial(_encode_store, AUDIO)
"""Encode a store of waveforms."""


def _clip_input(configured: ConfiguredEncoder, store: Store, clip_id: str) -> ClipInput:
    reason = store.state(clip_id)[1]
    return ClipInput(
        clip_id,
        store.digest(clip_id),
        functools.partial(_load, store, clip_id),
        None if store.count(clip_id) else configured.empty_result(reason),
    )


def _load(store: Store, clip_id: str) -> tuple[str, Rows]:
    return clip_id, store[clip_id]
