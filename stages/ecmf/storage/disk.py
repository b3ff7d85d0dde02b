"""Tell the failures of a file system apart, each with its remedy.

A full disk, a missing permission, a file system without locks and a disk that does not answer all
reach Python as OSError. None of them means that a file is damaged.
"""

import errno
import os
from pathlib import Path

from ecmf.errors import DiskError

REMEDIES = {
    "is full, or over quota or a size limit": (
        "free some space (`ecmf cache prune`, `dvc gc --workspace`), then run again",
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    ),
    "gives no permission": (
        "change the owner or the mode, or write elsewhere (the cache: ECMF_CACHE)",
        (errno.EACCES, errno.EPERM, errno.EROFS),
    ),
    "grants no lock": (
        "set HDF5_USE_FILE_LOCKING=FALSE; for DVC `dvc config --local core.hardlink_lock true`",
        (errno.ENOLCK, errno.EAGAIN, errno.EDEADLK),
    ),
    "does not answer": (
        "the file may be intact, so delete nothing: check the disk (`dmesg`) or the mount, then "
        "run again",
        (errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV, errno.EREMOTEIO, errno.ETIMEDOUT,
         errno.ENOTCONN, errno.EHOSTDOWN),
    ),
    "has too many files open": ("raise the limit with `ulimit -n`", (errno.EMFILE, errno.ENFILE)),
    "has another kind of file there": (
        "check the path: each folder must be a folder, and a file a file",
        (errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTEMPTY),
    ),
}  # fmt: skip
"""State of a file system: its remedy, and the error numbers that show it."""


def disk_error(error: OSError, path: Path | None = None) -> DiskError | None:
    """Return the error with its remedy, or None if `error` is not one of the file system.

    `path` is named if the error names no file.
    """
    for state, (remedy, numbers) in REMEDIES.items():
        if error.errno in numbers:
            file = error.filename or path or "a file"
            return DiskError(
                f"{file}: the file system {state} ({os.strerror(error.errno or 0)}): {remedy}"
            )
    return None
