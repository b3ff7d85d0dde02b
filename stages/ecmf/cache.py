"""Where results wait that a killed run would else lose. Deleting it changes no output."""

import os
from pathlib import Path


def folder() -> Path:
    """`$ECMF_CACHE`, else `.ecmf_cache` beside the `.dvc` of the real checkout.

    A queued experiment runs in a copy below `.dvc/tmp` of the checkout, so the outermost folder
    that has a `.dvc` is the one all runs share.
    """
    if named := os.environ.get("ECMF_CACHE"):
        return Path(named)
    here = Path.cwd()
    checkouts = [place for place in (here, *here.parents) if (place / ".dvc").is_dir()]
    return (checkouts[-1] if checkouts else here) / ".ecmf_cache"
