"""Run commands in a repository of git and DVC that a test makes."""

import os
import subprocess
import sys
from pathlib import Path

IDENTITY = {f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")}  # fmt: skip


def run(folder: Path, *arguments: str) -> str:
    """Run a command of this environment in `folder`, and return its output; it must succeed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, **IDENTITY, "PATH": path, "GIT_CONFIG_GLOBAL": os.devnull}
    done = subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout
