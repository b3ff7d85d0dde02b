"""End a program of ecmf in one way: exit codes, Ctrl-C, SIGTERM, errors as one line."""

import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from ecmf.errors import DiskError, ErrorBudgetError, UserError
from ecmf.storage.disk import disk_error

INTERRUPTED = 130
TERMINATED = 143

EXIT_CODES = {
    0: "done",
    1: "a parameter, a setting or an input has to be changed: the message says which and how",
    2: "the command line is wrong",
    os.EX_DATAERR: "more clips failed than error_budget allows (`predict`: any): they are listed",
    os.EX_SOFTWARE: "a bug: please report the traceback",
    os.EX_IOERR: "the disk is full, forbids access or does not answer: run again once it is mended",
    INTERRUPTED: "ended by Ctrl-C; what is done is kept, and the next run continues",
    TERMINATED: "ended by SIGTERM, likewise",
}
"""Exit codes of the stages and of the command `ecmf`; 65, 70 and 74 are those of sysexits.h."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, what SLURM and Kubernetes send: it is handled wherever Ctrl-C is."""


@contextmanager
def exit_codes() -> Iterator[None]:
    """Exit with the code of an error; a UserError or one of the disk is one line on stderr.

    A second signal does not disturb what the first one's handlers are writing.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # of a job in the background
            signal.signal(number, _interrupt)
    try:
        yield
    except (click.exceptions.Exit, click.Abort, click.ClickException):  # with codes of their own
        raise
    except UserError as error:
        _exit(error)
    except OSError as error:
        _exit(disk_error(error) or error)
    except Terminated:
        sys.exit(TERMINATED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:  # noqa: BLE001 (shown in full)
        _exit(error)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, _: Any) -> NoReturn:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def _exit(error: Exception) -> NoReturn:
    if not isinstance(error, UserError):
        traceback.print_exception(error)
        sys.exit(os.EX_SOFTWARE)
    print(f"error: {error}", file=sys.stderr)  # noqa: T201
    codes = {ErrorBudgetError: os.EX_DATAERR, DiskError: os.EX_IOERR}
    sys.exit(codes.get(type(error), 1))
