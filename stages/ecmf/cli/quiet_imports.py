"""Let Ctrl-C end a stage's script without a traceback while it still imports."""

import signal
import sys
from pathlib import Path

STAGES = Path(__file__).resolve().parents[2]


def end_quietly_during_imports() -> None:
    """Let the system handle Ctrl-C until `ending.exit_codes`; change no other program."""
    script = getattr(sys.modules["__main__"], "__file__", None)
    if (
        script
        and Path(script).resolve().parent == STAGES
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
