"""The checks of `ecmf doctor`: each looks at one thing that a run needs, and names the remedy.

A check returns a `Finding`, or raises the UserError that a stage would end with.
"""

import fcntl
import importlib.metadata
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from ecmf.data.manifest import read_manifest
from ecmf.execution import device, engine, process_pool, result_cache
from ecmf.params import Params, load_params
from ecmf.storage.files import locate, project_folder

LOCK = Path("requirements.lock")
SUBSTITUTES = {"onnxruntime": "onnxruntime-gpu"}
"""Packages of the lock file that another may stand in for."""

BYTES_PER_FRAME, BYTES_PER_CLIP = 16_000, 400_000
"""Rough sizes: a JPEG of 320 pixels, of which crops take as much again; voice and features."""

COPIES = 3
"""A result is in the cache, in DVC's cache and in the output."""

EXAMPLES = 5
SECONDS_OF_DVC, SECONDS_OF_HUB = 120, 5


class Finding(NamedTuple):
    """Result of a check; `remedy` is empty if nothing must be done."""

    result: str
    remedy: str = ""


def packages() -> Finding:
    """Compare the installed packages with requirements.lock."""
    if not LOCK.is_file():
        return Finding(f"no {LOCK} in {Path.cwd()}", "run from the project's root")
    pins = re.findall(r"^([\w.-]+)==([^\s;]+)", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    others = [
        f"{name} {found}, not {pin}" for name, pin in pins if (found := _version(name)) != pin
    ]
    if others:
        return Finding(_examples(others), "run `make install`")
    return Finding(f"{len(pins)} as in {LOCK}")


def _version(name: str) -> str:
    for candidate in (name, SUBSTITUTES.get(name, name)):
        try:
            return importlib.metadata.version(candidate).partition("+")[0]  # as in 2.13.0+cpu
        except importlib.metadata.PackageNotFoundError:
            continue
    return "absent"


def settings() -> Finding:
    """Read the parameters and the environment as every stage does."""
    load_params()
    engine.is_local()
    result_cache.size_limit()
    return Finding(f"params.yaml is valid, {process_pool.worker_count()} workers")


def devices() -> Finding:
    """Ask torch and onnxruntime for the device that they would use."""
    import onnxruntime
    import torch

    used = device.torch_device()
    if used != "cpu":
        device.require_cuda(used, onnxruntime)
    idle = torch.cuda.device_count() if used == "cpu" else 0
    hint = f"; {idle} GPUs are idle: ECMF_DEVICE=cuda uses them" if idle else ""
    return Finding(f"networks run on {used}, {device.thread_count()} threads{hint}")


def disk() -> Finding:
    """Compare the free space with a rough estimate for the clips of the manifest."""
    params = load_params()
    path = _manifest(params)
    clips = len(read_manifest(path)) if path.is_file() else 0
    per_clip = 2 * params.decode_video.frames * BYTES_PER_FRAME + BYTES_PER_CLIP
    needed = COPIES * clips * per_clip
    folders = {"project": project_folder(), "cache": _existing(result_cache.root_folder())}
    free = {name: shutil.disk_usage(folder).free for name, folder in folders.items()}
    result = ", ".join(f"{count / 1e9:.1f} GB free in the {name}" for name, count in free.items())
    if clips:
        result += f"; a first run of {clips} clips takes about {needed / 1e9:.1f} GB"
    short = min(free.values()) < needed
    return Finding(result, "free some space, or set ECMF_CACHE to another disk" if short else "")


def cache() -> Finding:
    """Write a file into the cache."""
    root = result_cache.root_folder()
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=root) as file:
        file.write(b"x")
        file.flush()
    return Finding(f"{root} can be written, {len(result_cache.recipe_folders())} recipes")


def locks() -> Finding:
    """Lock a file as DVC does. Stores and the cache need no lock."""
    with tempfile.TemporaryFile(dir=project_folder()) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return Finding(
                f"the file system grants none ({error.strerror})",
                "`dvc config --local core.hardlink_lock true`, and HDF5_USE_FILE_LOCKING=FALSE",
            )
    if os.environ.get("HDF5_USE_FILE_LOCKING", "").upper() in ("TRUE", "1", "BEST_EFFORT"):
        return Finding("granted; HDF5 is told to lock", "unset HDF5_USE_FILE_LOCKING")
    return Finding("granted")


def manifest() -> Finding:
    """Read the manifest, and look for the files of its clips."""
    params = load_params()
    path = _manifest(params)
    if params.corpus == "sample" and not path.is_file():
        return Finding("the sample is made by `dvc repro`")
    clips = read_manifest(path)
    absent = [str(file) for clip in clips for file in clip.sources if not locate(file).is_file()]
    if absent:
        return Finding(
            f"{path}: {len(absent)} files are absent: {_examples(absent)}",
            f"put them there, or write the manifest again with `ecmf index` ({params.corpus})",
        )
    return Finding(f"{path}: {len(clips)} clips, all files are there")


def dvc() -> Finding:
    """Ask DVC which stages would run."""
    if not Path(".dvc").is_dir():
        return Finding("this folder is no DVC project", "run from the project's root")
    try:
        done = subprocess.run(
            ["dvc", "status", "--quiet"],
            capture_output=True,
            text=True,
            timeout=SECONDS_OF_DVC,
            check=False,
        )
    except FileNotFoundError:
        return Finding("no command dvc", "`source .venv/bin/activate`")
    except subprocess.TimeoutExpired:
        return Finding(
            f"no answer in {SECONDS_OF_DVC} s", "is another DVC running? see .dvc/tmp/rwlock"
        )
    states = {0: "all outputs are up to date", 1: "`dvc repro` has stages to run"}
    if done.returncode not in states:
        return Finding(
            f"dvc status ends with exit code {done.returncode}", "mend what `dvc status` says"
        )
    return Finding(states[done.returncode])


def hub() -> Finding:
    """Ask the model hub for an answer if an encoder needs it."""
    import httpx2
    from huggingface_hub import constants

    named = [
        f"{section}.{name}"
        for section in ("encode_frames", "encode_faces", "encode_audio", "encode_text")
        for name, choice in getattr(load_params(), section).encoders.items()
        if choice.model_dump().get("repository")
    ]
    need = f"needed by {_examples(named)}" if named else "no encoder needs it"
    if constants.HF_HUB_OFFLINE:
        return Finding(f"not asked, HF_HUB_OFFLINE is set; {need}")
    try:
        httpx2.head(constants.ENDPOINT, timeout=SECONDS_OF_HUB)
    except httpx2.HTTPError as error:
        remedy = "set HF_ENDPOINT to a mirror, or name local weights by `folder`" if named else ""
        return Finding(
            f"{constants.ENDPOINT} does not answer ({type(error).__name__}); {need}", remedy
        )
    return Finding(f"{constants.ENDPOINT} answers; {need}")


CHECKS: Mapping[str, Callable[[], Finding]] = {
    check.__name__: check
    for check in (packages, settings, devices, disk, cache, locks, manifest, dvc, hub)
}


def _manifest(params: Params) -> Path:
    return Path(f"data/manifests/{params.corpus}.csv")


def _existing(folder: Path) -> Path:
    return next(each for each in (folder, *folder.parents) if each.is_dir())


def _examples(names: list[str]) -> str:
    more = f" and {len(names) - EXAMPLES} more" if len(names) > EXAMPLES else ""
    return ", ".join(names[:EXAMPLES]) + more
