"""Weights by repository and revision, or from a folder: found, checked, and known by their content.

Only safetensors are read. A repository is fetched once; after that its snapshot is used as it lies
there, without asking the hub.
"""

import functools
import json
import logging
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import huggingface_hub
import safetensors
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from huggingface_hub.utils import httpx
from pydantic import model_validator

from ecmf.config import Section
from ecmf.errors import MissingFileError
from ecmf.storage.files import sha256, verified

FETCHED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
"""What is fetched of a repository: weights, configuration, vocabulary; no code, no pickle."""

ONE_FILE, SHARDS = "model.safetensors", "model.safetensors.index.json"

REMEDY = (
    "connect once to fetch it (HF_ENDPOINT names another hub, HF_TOKEN opens a gated repository), "
    "or copy a folder made by `save_pretrained` here and name it in `folder`"
)

Precision = Literal["float32", "bfloat16", "float16"]

log = logging.getLogger(__name__)


class Weights(Section):
    """Where weights come from, and in which precision the network computes.

    Either `repository` and `revision` (a branch, a tag, `refs/pr/1` or, best, a commit), or
    `folder` as `save_pretrained` writes it, with the `sha256` of its names and contents (leave it
    out once: the error says it). In half precision the weights are kept in it and the network runs
    under autocast; `float16` features are stored as such.
    """

    repository: str = ""
    revision: str = "main"
    folder: str = ""
    sha256: str = ""
    precision: Precision = "float32"

    @model_validator(mode="after")
    def _from_one_place(self) -> Self:
        if bool(self.repository) == bool(self.folder):
            raise ValueError("name either a repository or a folder")
        if self.sha256 and not self.folder:
            raise ValueError("sha256 belongs to a folder; a repository is fixed by its revision")
        return self


def find(options: Weights) -> tuple[Path, dict[str, Any]]:
    """Return the folder of the weights and what fixes them, fetching a repository not yet here.

    Raises:
        MissingFileError: they are absent, incomplete, not those of the `sha256` or not safetensors,
            or the hub was not reached; says what to do.
    """
    if options.folder:
        folder = verified(options.folder, options.sha256, REMEDY)
        source: dict[str, Any] = {"folder": folder.name, "sha256": options.sha256}
    else:
        folder = _snapshot(options.repository, options.revision)
        commit = folder.name  # the hub's cache names a snapshot by its commit
        if options.revision != commit:
            log.info("%s: pin `revision: %s`, %r may move", options.repository, commit,
                     options.revision)  # fmt: skip
        source = {"repository": options.repository, "commit": commit}
    if not folder.is_dir():
        raise MissingFileError(f"{folder} is a file: name the folder that `save_pretrained` wrote")
    weights = _checked(_safetensors(folder, options.repository or options.folder))
    return folder, {**source, "weights_sha256": weights, "precision": options.precision}


def _snapshot(repository: str, revision: str) -> Path:
    """The folder of a repository at a revision: as it lies here, else fetched."""
    fetch = functools.partial(
        huggingface_hub.snapshot_download, repository, revision=revision, allow_patterns=FETCHED
    )
    try:
        here = Path(fetch(local_files_only=True))
        if not _missing(here):
            return here
        log.info("%s at %s is not complete: fetching the rest", repository, revision)
    except LocalEntryNotFoundError:
        log.info("fetching %s at %s", repository, revision)
    except HFValidationError as error:
        raise MissingFileError(f"{repository!r} is no name of a repository: {error}") from error
    try:
        return Path(fetch())
    except (OSError, httpx.HTTPError) as error:
        raise MissingFileError(
            f"{repository} at {revision!r} is not wholly on this machine and cannot be fetched "
            f"({in_short(error)}): {REMEDY}"
        ) from error


def _missing(folder: Path) -> list[str]:
    """Which files of the weights are not there; both usual names if there are none at all."""
    if not (folder / ONE_FILE).is_file() and not (folder / SHARDS).is_file():
        return [ONE_FILE, SHARDS]
    return [file.name for file in _files(folder) if not file.is_file()]


def _files(folder: Path) -> list[Path]:
    """The files of the weights, also those that are missing, in the order of their names."""
    if (folder / ONE_FILE).is_file():
        return [folder / ONE_FILE]
    index = folder / SHARDS
    try:
        names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MissingFileError(
            f"{index} does not say which files hold the weights: delete it and fetch it again"
        ) from error
    return [folder / name for name in names]


def _safetensors(folder: Path, name: str) -> list[Path]:
    """The files of the weights, each opened once."""
    if missing := _missing(folder):
        raise MissingFileError(
            f"{name} ({folder}) has no {' and no '.join(missing)}: only safetensors are read. Name "
            "a revision that has them (the hub's own conversion is often `revision: refs/pr/<n>`), "
            "or load and `save_pretrained` the model where its pickle may be trusted and name that "
            "`folder`"
        )
    files = _files(folder)
    for file in files:
        try:
            with safetensors.safe_open(file, "pt"):
                pass
        except safetensors.SafetensorError as error:
            raise MissingFileError(
                f"{file} is no safetensors file ({error}): delete {file.resolve()} and fetch it "
                "again"
            ) from error
    return files


def _checked(files: Sequence[Path]) -> str:
    """The hash of the weights; in the hub's cache it tells a damaged download from a good one."""
    hashes = {file: sha256(file) for file in files}
    for file, found in hashes.items():
        blob = file.resolve()  # the hub's cache names a big file by its SHA-256
        if re.fullmatch(r"[0-9a-f]{64}", blob.name) and found != blob.name:
            raise MissingFileError(f"{file} is damaged, its hash is not {blob.name}: delete {blob}")
    return sha256(*files) if len(files) > 1 else hashes[files[0]]


def in_short(error: Exception) -> str:
    """Return what an error says, without its tail."""
    return textwrap.shorten(str(error) or type(error).__name__, 240, placeholder=" ...")
