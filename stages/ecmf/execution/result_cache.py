"""On-disk cache of per-clip results and finished trainings, so that an interrupted run can resume.

    train_fusion/<key>/                     finished trainings (see `training_cache.py`)
    clips/<recipe>/recipe.json              name, layouts and identity of the recipe
    clips/<recipe>/<pack>.safetensors       the results of some clips, never changed once written

Deleting it changes no output. `<recipe>` is the hash of everything that determines a result except
the clip, and the key of a clip is the hash of its content, so no result can be out of date. A pack
is written under a temporary name and renamed: a kill leaves a whole pack or none, and two runs may
write the same results. Every result has a digest; a result that does not match it is discarded and
recomputed.
"""

import functools
import hashlib
import json
import logging
import math
import os
import shutil
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from safetensors.numpy import save

from ecmf.errors import UserError
from ecmf.execution import cache_packs
from ecmf.storage.disk import disk_error
from ecmf.storage.files import project_folder
from ecmf.storage.store import Layout, Result

CLIPS = "clips"
RECIPE_FILE = "recipe.json"
SUFFIX = ".safetensors"
MAX_OPEN_PACKS = 8
MAX_WRITE_SECONDS = 3600

log = logging.getLogger(__name__)

Content = TypeVar("Content")


def root_folder() -> Path:
    """Return `$ECMF_CACHE`, else `.ecmf_cache` in the project, which its experiments share."""
    path = os.environ.get("ECMF_CACHE")
    return Path(path).absolute() if path else project_folder() / ".ecmf_cache"


def size_limit() -> int:
    """Return the size limit of all packs in bytes, from `ECMF_CACHE_GIGABYTES` or 100 GB.

    Raises:
        UserError: `ECMF_CACHE_GIGABYTES` is not a positive number.
    """
    setting = os.environ.get("ECMF_CACHE_GIGABYTES", "100")
    try:
        gigabytes = float(setting)
    except ValueError:
        gigabytes = 0.0
    if not 0 < gigabytes < math.inf:
        raise UserError(f"ECMF_CACHE_GIGABYTES is {setting!r}: set it to a number above 0")
    return int(gigabytes * 1e9)


def hash_json(*parts: object) -> str:
    """Hash JSON values to 64 hexadecimal digits, regardless of the order of keys."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class ResultCache:
    """Cached results of one recipe, by clip key; a result has one `Rows` per layout."""

    def __init__(self, name: str, layouts: tuple[Layout, ...], identity: Mapping[str, Any]) -> None:
        """Open the folder of a recipe; `identity` is JSON that determines its results."""
        self._layouts = layouts
        shapes = [asdict(layout) for layout in layouts]
        self.folder = root_folder() / CLIPS / hash_json(identity, shapes)[:32]
        recipe = {"name": name, "layouts": shapes, "identity": dict(identity)}
        self._recipe = json.dumps(recipe, indent=1, sort_keys=True)
        self._write_recipe()
        self._open: OrderedDict[Path, dict[str, Result]] = OrderedDict()

    def _write_recipe(self) -> None:
        """Write recipe.json if absent; another run may write or prune it at the same time."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / RECIPE_FILE).is_file():
            part = self.folder / f".{RECIPE_FILE}.{uuid.uuid4().hex}.part"
            part.write_text(self._recipe, encoding="utf-8")
            part.replace(self.folder / RECIPE_FILE)

    @functools.cached_property
    def _packs(self) -> dict[str, Path]:
        """Map each key to its pack. Lazy: a process that only writes results reads no pack."""
        packs: dict[str, Path] = {}
        for path in pack_paths(self.folder):
            packs.update(dict.fromkeys(_keys(path), path))
        return packs

    def touch(self) -> None:
        """Mark all packs as used now; pruning removes the least recently used first."""
        for path in pack_paths(self.folder):
            with suppress(OSError):
                os.utime(path)

    def __contains__(self, key: str) -> bool:
        """Return whether a clip has a result, without checking its digest."""
        return key in self._packs

    def get(self, key: str) -> Result | None:
        """Return the intact result of a clip, or None."""
        path = self._packs.get(key)
        if path is None:
            return None
        if path not in self._open:
            self._open[path] = self._read(path)
            if len(self._open) > MAX_OPEN_PACKS:
                self._open.popitem(last=False)
        result = self._open[path].get(key)
        if result is None:
            del self._packs[key]
        return result

    def put(self, results: Mapping[str, Result]) -> None:
        """Write the results of some clips as one pack, atomically."""
        if not results:
            return
        content = save(*cache_packs.pack(results, self._layouts))
        path = self.folder / f"{hash_json(*results)[:32]}{SUFFIX}"
        part = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.part")
        try:
            self._write_recipe()
            part.write_bytes(content)
            part.replace(path)
        except OSError as error:
            raise disk_error(error, path) or UserError(
                f"cannot write to the cache ({error}): set ECMF_CACHE to a folder that can be "
                "written"
            ) from error
        finally:
            with suppress(OSError):
                part.unlink()
        if "_packs" in vars(self):
            self._packs.update(dict.fromkeys(results, path))

    def _read(self, path: Path) -> dict[str, Result]:
        """Read the intact results of a pack; discard and log the damaged ones."""
        results, damaged = _try_read(cache_packs.read, path, self._layouts) or ({}, [])
        if damaged:
            log.warning("%s: %d damaged clips are computed again", path, len(damaged))
            path.unlink(missing_ok=True)
            self.put(results)
        return results


def pack_paths(recipe: Path) -> list[Path]:
    """List the packs of a recipe, in a fixed order."""
    return sorted(recipe.glob(f"*{SUFFIX}"))


def recipe_folders() -> list[Path]:
    """List the folders of all recipes that this version of ecmf can read."""
    return [folder for folder in _all_folders() if (folder / RECIPE_FILE).is_file()]


def _all_folders() -> list[Path]:
    return sorted(path for path in (root_folder() / CLIPS).glob("*") if path.is_dir())


def _keys(path: Path) -> list[str]:
    return _try_read(cache_packs.read_keys, path) or []


def _try_read(read: Callable[..., Content], path: Path, *arguments: object) -> Content | None:
    """Call `read`, or return None if the pack at `path` is unreadable; remove it if damaged."""
    try:
        return read(path, *arguments)
    except OSError as error:  # pruned by another run, or an unresponsive disk
        log.info("%s cannot be read (%s): its clips are computed again", path, error)
    except cache_packs.UNREADABLE as error:
        log.warning("%s is damaged (%s): its clips are computed again", path, error)
        path.unlink(missing_ok=True)
    return None


def count_clips(recipe: Path) -> int:
    """Count the clips cached for a recipe."""
    return len({key for path in pack_paths(recipe) for key in _keys(path)})


def verify(recipe: Path) -> tuple[int, int]:
    """Read every result of a recipe; return the counts of intact and of discarded results.

    An unreadable pack counts as one result.
    """
    description = json.loads((recipe / RECIPE_FILE).read_text(encoding="utf-8"))
    layouts = tuple(
        Layout(**{**shape, "shape": tuple(shape["shape"])}) for shape in description["layouts"]
    )
    cache = ResultCache(description["name"], layouts, description["identity"])
    intact = damaged = 0
    for path in pack_paths(recipe):
        try:
            results, discarded = cache_packs.read(path, layouts)
        except cache_packs.UNREADABLE:
            results, discarded = {}, [path.name]
        intact, damaged = intact + len(results), damaged + len(discarded)
        if discarded:
            path.unlink(missing_ok=True)
            cache.put(results)
    return intact, damaged


def _age(path: Path) -> float:
    """Return the seconds since the last write, or 0 if `path` is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


@dataclass(frozen=True)
class Pruned:
    """Packs and bytes removed by `prune`, and bytes left."""

    packs: int
    bytes: int
    bytes_left: int


def prune(limit: int) -> Pruned:
    """Remove the least recently used packs until the others hold at most `limit` bytes.

    A concurrent run that needs a removed pack recomputes it.
    """
    packs = []
    for recipe in _all_folders():  # also of other versions of ecmf
        for part in recipe.glob(".*"):  # temporary files of ecmf and of safetensors
            if _age(part) > MAX_WRITE_SECONDS:
                part.unlink(missing_ok=True)
        for path in pack_paths(recipe):
            with suppress(FileNotFoundError):  # another run may prune as well
                state = path.stat()
                packs.append((state.st_mtime_ns, path, state.st_size))
    total = sum(length for _, _, length in packs)
    removed = freed = 0
    for _, path, length in sorted(packs):
        if total - freed <= limit:
            break
        path.unlink(missing_ok=True)
        removed, freed = removed + 1, freed + length
    for recipe in _all_folders():
        # A concurrent run may have opened it and not written yet.
        if not pack_paths(recipe) and _age(recipe) > MAX_WRITE_SECONDS:
            shutil.rmtree(recipe, ignore_errors=True)
    return Pruned(removed, freed, total - freed)
