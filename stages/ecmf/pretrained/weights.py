"""Find, verify and hash the weights of a repository at a revision, or of a folder.

Only safetensors are read. A repository is downloaded once; then its cached snapshot is used without
a request to the hub.
"""

import functools
import json
import logging
import re
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import huggingface_hub
import safetensors
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from huggingface_hub.utils import httpx
from pydantic import Field, model_validator

from ecmf.config import Section
from ecmf.errors import MissingFileError
from ecmf.storage.files import sha256, verify_sha256

DOWNLOAD_PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
"""Files to download of a repository: weights, configuration, vocabulary; no code, no pickle."""

SINGLE_FILE, SHARD_INDEX = "model.safetensors", "model.safetensors.index.json"

REMEDY = (
    "connect once to download it (HF_ENDPOINT names another hub, HF_TOKEN opens a gated "
    "repository), or copy a folder made by `save_pretrained` here and name it in `folder`"
)

Precision = Literal["float32", "bfloat16", "float16"]

log = logging.getLogger(__name__)


class WeightsLocation(Section):
    """Options that locate weights: a repository or a folder."""

    repository: str = Field("", description="Repository of the Hugging Face hub.")
    revision: str = Field("main", description="Commit (best), branch, tag or `refs/pr/<n>`.")
    folder: str = Field("", description="Folder written by `save_pretrained`.")
    sha256: str = Field("", description="SHA-256 of the folder; if empty, the error states it.")

    @model_validator(mode="after")
    def _from_one_place(self) -> Self:
        if bool(self.repository) == bool(self.folder):
            raise ValueError("name either a repository or a folder")
        if self.sha256 and not self.folder:
            raise ValueError("sha256 belongs to a folder; a repository is fixed by its revision")
        return self


class Weights(WeightsLocation):
    """Options of the weights, from a repository or a folder, and of the precision.

    In half precision the weights are converted, and the network runs in `precision.autocast`.
    """

    precision: Precision = Field(
        "float32", description="Precision of the network; features are float16 for float16 only."
    )


def find_weights(options: Weights) -> tuple[Path, dict[str, Any]]:
    """Return the folder and the provenance of the weights; download a repository if not cached.

    Raises:
        MissingFileError: they are absent, incomplete, differ from the `sha256`, are not
            safetensors, or the hub is unreachable; names the remedy.
    """
    folder, source = find_folder(options, DOWNLOAD_PATTERNS, _missing)
    weights = _hash_weights(_safetensors(folder, options.repository or options.folder))
    return folder, {**source, "weights_sha256": weights, "precision": options.precision}


def find_folder(
    options: WeightsLocation, patterns: Sequence[str], missing: Callable[[Path], Sequence[str]]
) -> tuple[Path, dict[str, Any]]:
    """Return the folder of weights and where they are from; download a repository if not cached.

    Args:
        options: The repository, or the folder with its hash.
        patterns: Names of the files to download.
        missing: Returns the names of the files that a folder lacks; a repository that lacks one is
            downloaded again.

    Raises:
        MissingFileError: there is no such folder, it differs from the `sha256`, or the hub is
            unreachable.
    """
    if options.folder:
        folder = verify_sha256(options.folder, options.sha256, REMEDY)
        source: dict[str, Any] = {"folder": folder.name, "sha256": options.sha256}
    else:
        folder = _snapshot(options.repository, options.revision, patterns, missing)
        commit = folder.name  # the hub's cache names a snapshot by its commit
        if options.revision != commit:
            log.info("%s: pin `revision: %s`, %r may move", options.repository, commit,
                     options.revision)  # fmt: skip
        source = {"repository": options.repository, "commit": commit}
    if not folder.is_dir():
        raise MissingFileError(f"{folder} is a file: name the folder that `save_pretrained` wrote")
    return folder, source


def _snapshot(
    repository: str,
    revision: str,
    patterns: Sequence[str],
    missing: Callable[[Path], Sequence[str]],
) -> Path:
    """Return the cached snapshot of a repository at a revision, or download it."""
    download = functools.partial(
        huggingface_hub.snapshot_download,
        repository,
        revision=revision,
        allow_patterns=patterns,
    )
    try:
        cached = Path(download(local_files_only=True))
        if not missing(cached):
            return cached
        log.info("%s at %s is not complete: downloading the rest", repository, revision)
    except LocalEntryNotFoundError:
        log.info("downloading %s at %s", repository, revision)
    except HFValidationError as error:
        raise MissingFileError(f"{repository!r} is not a repository name: {error}") from error
    try:
        return Path(download())
    except (OSError, httpx.HTTPError) as error:
        raise MissingFileError(
            f"{repository} at {revision!r} is not complete on this machine and cannot be "
            f"downloaded ({shorten(error)}): {REMEDY}"
        ) from error


def _missing(folder: Path) -> list[str]:
    """Return the missing weight files; both usual names if there are no weight files."""
    if not (folder / SINGLE_FILE).is_file() and not (folder / SHARD_INDEX).is_file():
        return [SINGLE_FILE, SHARD_INDEX]
    return [file.name for file in _files(folder) if not file.is_file()]


def _files(folder: Path) -> list[Path]:
    """Return the weight files by name, including missing ones."""
    if (folder / SINGLE_FILE).is_file():
        return [folder / SINGLE_FILE]
    index = folder / SHARD_INDEX
    try:
        names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        elsewhere = [name for name in names if Path(name).is_absolute() or ".." in Path(name).parts]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MissingFileError(
            f"{index} does not list the weight files: delete it and download it again"
        ) from error
    if elsewhere:  # no hash covers them
        raise MissingFileError(
            f"{index} names {elsewhere[0]!r}, a file outside of its folder: do not trust this model"
        )
    return [folder / name for name in names]


def _safetensors(folder: Path, name: str) -> list[Path]:
    """Return the weight files, after opening each of them once."""
    if missing := _missing(folder):
        raise MissingFileError(
            f"{name} ({folder}) has no {' and no '.join(missing)}: only safetensors are read. Name "
            "a revision that has them (the hub's own conversion is often `revision: refs/pr/<n>`), "
            "or convert the model with `save_pretrained` where its pickle may be trusted and name "
            "the written `folder`"
        )
    files = _files(folder)
    for file in files:
        try:
            with safetensors.safe_open(file, "pt"):
                pass
        except safetensors.SafetensorError as error:
            raise MissingFileError(
                f"{file} is not a safetensors file ({error}): delete {file.resolve()} and "
                "download it again"
            ) from error
    return files


def _hash_weights(files: Sequence[Path]) -> str:
    """Return the hash of the weights; raises MissingFileError for a damaged download."""
    hashes = {file: sha256(file) for file in files}
    for file, digest in hashes.items():
        blob = file.resolve()  # the hub's cache names a big file by its SHA-256
        if re.fullmatch(r"[0-9a-f]{64}", blob.name) and digest != blob.name:
            raise MissingFileError(f"{file} is damaged, its hash is not {blob.name}: delete {blob}")
    return sha256(*files) if len(files) > 1 else hashes[files[0]]


def shorten(error: Exception) -> str:
    """Return the message of an error, cut to 240 characters."""
    return textwrap.shorten(str(error) or type(error).__name__, 240, placeholder=" ...")
