"""Where results wait that a killed run would else lose. Deleting it changes no output.

    train_fusion/<key>/                     finished trainings (see `runs.py`)
    clips/<recipe>/about.json               what made these results, to be read by people
    clips/<recipe>/<pack>.safetensors       the results of some clips, never changed once written

`<recipe>` is the hash of all that decides a result beside the clip itself, and a clip is known by
the hash of its own content, so nothing here can be out of date. A pack appears by renaming: a kill
at any moment leaves a whole one or none, and two runs that write the same results do no harm. Every
result carries its own digest; one that does not match is forgotten and made again.
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
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
from safetensors.numpy import save_file

from ecmf.errors import UserError
from ecmf.execution import cache_packs
from ecmf.storage.store import Layout, Result

CLIPS = "clips"
ABOUT = "about.json"
SUFFIX = ".safetensors"
DIGEST = "digest"
PACKS_OPEN = 8
SECONDS_A_WRITE_MAY_TAKE = 3600

log = logging.getLogger(__name__)


def folder() -> Path:
    """`$ECMF_CACHE`, else `.ecmf_cache` beside the `.dvc` of the real checkout.

    A queued experiment runs in a copy below `.dvc/tmp` of the checkout, so the outermost folder
    that has a `.dvc` is the one all runs share.
    """
    if named := os.environ.get("ECMF_CACHE"):
        return Path(named).absolute()
    here = Path.cwd()
    checkouts = [place for place in (here, *here.parents) if (place / ".dvc").is_dir()]
    return (checkouts[-1] if checkouts else here) / ".ecmf_cache"


def most_bytes() -> int:
    """How large the results of clips may grow: `ECMF_CACHE_GIGABYTES` from the environment, or 100.

    Raises:
        UserError: it is no positive number.
    """
    given = os.environ.get("ECMF_CACHE_GIGABYTES", "100")
    try:
        gigabytes = float(given)
    except ValueError:
        gigabytes = 0.0
    if not 0 < gigabytes < math.inf:
        raise UserError(f"ECMF_CACHE_GIGABYTES is {given!r}: set it to a number above 0")
    return int(gigabytes * 1e9)


def hashed(*parts: object) -> str:
    """Hash JSON values, whatever the order of their keys, to 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class Shelf:
    """The results of one recipe, clip by clip; a result is a `Rows` for each of the `layouts`."""

    def __init__(self, name: str, layouts: tuple[Layout, ...], identity: Mapping[str, Any]) -> None:
        """Open what there is of a recipe; `identity` is JSON, all that decides a result."""
        self._layouts = layouts
        shapes = [asdict(layout) for layout in layouts]
        self.folder = folder() / CLIPS / hashed(identity, shapes)[:32]
        about = {"name": name, "layouts": shapes, "identity": dict(identity)}
        self._about = json.dumps(about, indent=1, sort_keys=True)
        self._introduce()
        self._open: OrderedDict[Path, dict[str, Result]] = OrderedDict()

    def _introduce(self) -> None:
        """Say what lies here; another run may do so, or prune, at the same moment."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / ABOUT).is_file():
            part = self.folder / f".{ABOUT}.{uuid.uuid4().hex}.part"
            part.write_text(self._about, encoding="utf-8")
            part.replace(self.folder / ABOUT)

    @functools.cached_property
    def _packs(self) -> dict[str, Path]:
        """Clip -> its pack. Who only puts results never asks, and reads no head."""
        found: dict[str, Path] = {}
        for path in packs_of(self.folder):
            found.update(dict.fromkeys(_keys(path), path))
        return found

    def use(self) -> None:
        """Let everything here count as used now: what was used longest ago is pruned first."""
        for path in packs_of(self.folder):
            with suppress(OSError):
                os.utime(path)

    def __contains__(self, key: str) -> bool:
        """Tell whether there is a result for a clip; its content has not been looked at yet."""
        return key in self._packs

    def get(self, key: str) -> Result | None:
        """Return the result of a clip, or None where there is none that can be trusted."""
        path = self._packs.get(key)
        if path is None:
            return None
        if path not in self._open:
            self._open[path] = self._read(path)
            if len(self._open) > PACKS_OPEN:
                self._open.popitem(last=False)
        result = self._open[path].get(key)
        if result is None:
            del self._packs[key]
        return result

    def put(self, results: Mapping[str, Result]) -> None:
        """Keep the results of some clips, all of them or none."""
        if not results:
            return
        tensors, meta = cache_packs.packed(results, self._layouts)
        path = self.folder / f"{hashed(*results)[:32]}{SUFFIX}"
        part = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.part")
        try:
            self._introduce()
            save_file(tensors, part, meta)
            part.replace(path)
        except (OSError, safetensors.SafetensorError) as error:
            raise UserError(
                f"the cache cannot be written ({error}): free some space with "
                "`ecmf cache prune`, or set ECMF_CACHE to a folder that has some"
            ) from error
        finally:
            with suppress(OSError):
                part.unlink()
        if "_packs" in vars(self):
            self._packs.update(dict.fromkeys(results, path))

    def _read(self, path: Path) -> dict[str, Result]:
        """All sound results of a pack; the others are named in the log."""
        try:
            results, damaged = cache_packs.read(path, self._layouts)
        except OSError as error:  # pruned by another run, or a disk that does not answer
            log.info("%s cannot be read (%s): its clips are made again", path, error)
            return {}
        except cache_packs.UNREADABLE as error:
            log.warning("%s is damaged (%s): its clips are made again", path, error)
            path.unlink(missing_ok=True)
            return {}
        if damaged:
            log.warning("%s: %d damaged clips are made again", path, len(damaged))
            path.unlink(missing_ok=True)
            self.put(results)
        return results


def packs_of(recipe: Path) -> list[Path]:
    """List the packs of a recipe, in a fixed order."""
    return sorted(recipe.glob(f"*{SUFFIX}"))


def recipes() -> Iterator[Path]:
    """List the folders of all recipes."""
    clips = folder() / CLIPS
    yield from sorted(path for path in clips.glob("*") if path.is_dir())


def _keys(path: Path) -> list[str]:
    try:
        return cache_packs.keys(path)
    except OSError as error:
        log.info("%s cannot be read (%s): its clips are made again", path, error)
        return []
    except cache_packs.UNREADABLE as error:
        log.warning("%s is damaged (%s): its clips are made again", path, error)
        path.unlink(missing_ok=True)
        return []


def count(recipe: Path) -> int:
    """Count the clips of a recipe."""
    return len({key for path in packs_of(recipe) for key in _keys(path)})


def verify(recipe: Path) -> tuple[int, int]:
    """Read every result of a recipe; count those that are sound, and those now forgotten.

    A pack that cannot be read at all counts as one.
    """
    about = json.loads((recipe / ABOUT).read_text(encoding="utf-8"))
    layouts = tuple(
        Layout(**{**shape, "shape": tuple(shape["shape"])}) for shape in about["layouts"]
    )
    shelf = Shelf(about["name"], layouts, about["identity"])
    found = packs_of(recipe)
    sound = damaged = 0
    for path in found:
        try:
            results, bad = cache_packs.read(path, layouts)
        except cache_packs.UNREADABLE:
            results, bad = {}, [path.name]
        sound, damaged = sound + len(results), damaged + len(bad)
        if bad:
            path.unlink(missing_ok=True)
            shelf.put(results)
    return sound, damaged


def _age(path: Path) -> float:
    """Seconds since something was written there; none where it is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


@dataclass(frozen=True)
class Pruned:
    """What pruning has removed and left."""

    packs: int
    bytes: int
    bytes_left: int


def prune(most: int) -> Pruned:
    """Remove the packs that were used longest ago until the others hold `most` bytes at most.

    A pack that a run beside this one still wants is made again by that run.
    """
    found = []
    for recipe in recipes():
        for part in recipe.glob(".*"):  # ours, and those safetensors writes
            if _age(part) > SECONDS_A_WRITE_MAY_TAKE:
                part.unlink(missing_ok=True)
        for path in packs_of(recipe):
            with suppress(FileNotFoundError):  # another run prunes, too
                state = path.stat()
                found.append((state.st_mtime_ns, path, state.st_size))
    total = sum(length for _, _, length in found)
    removed = freed = 0
    for _, path, length in sorted(found):
        if total - freed <= most:
            break
        path.unlink(missing_ok=True)
        removed, freed = removed + 1, freed + length
    for recipe in recipes():
        # A run beside this one may have opened it just now, with nothing to put there yet.
        if not packs_of(recipe) and _age(recipe) > SECONDS_A_WRITE_MAY_TAKE:
            shutil.rmtree(recipe, ignore_errors=True)
    return Pruned(removed, freed, total - freed)
