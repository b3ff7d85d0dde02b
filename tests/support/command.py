"""The command `ecmf`, run as a user runs it."""

import subprocess
import sys


def run_ecmf(*arguments):
    """Run a subcommand in a process of its own; return its output and exit code."""
    command = [sys.executable, "-m", "ecmf", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)
