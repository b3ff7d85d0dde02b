"""Find one file of a repository of the Hugging Face hub; download it once.

Networks of other formats than safetensors, e.g. ONNX, are single files. Nothing in them is run as
code.
"""

import functools
import logging
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from huggingface_hub.utils import httpx

from ecmf.errors import MissingFileError
from ecmf.pretrained.weights import shorten

log = logging.getLogger(__name__)


def find_file(
    repository: str, revision: str, name: str, remedy: str
) -> tuple[Path, dict[str, Any]]:
    """Return the path and the provenance of a file of a repository at a revision.

    A file in the hub's cache is used without a request to the hub.

    Raises:
        MissingFileError: the file is not in the cache and cannot be downloaded; ends in `remedy`.
    """
    download = functools.partial(
        huggingface_hub.hf_hub_download, repository, name, revision=revision
    )
    try:
        path = Path(download(local_files_only=True))
    except HFValidationError as error:
        raise MissingFileError(f"{repository!r} is not a repository name: {error}") from error
    except LocalEntryNotFoundError:
        log.info("downloading %s of %s at %s", name, repository, revision)
        try:
            path = Path(download())
        except (OSError, httpx.HTTPError) as error:
            raise MissingFileError(
                f"{name} of {repository} at {revision!r} is not on this machine and cannot be "
                f"downloaded ({shorten(error)}): connect once to download it (HF_ENDPOINT names "
                f"another hub), or {remedy}"
            ) from error
    commit = path.parents[len(Path(name).parts) - 1].name  # the hub's cache names snapshots so
    if revision != commit:
        log.info("%s: pin `revision: %s`, %r may move", repository, commit, revision)
    return path, {"repository": repository, "commit": commit}
