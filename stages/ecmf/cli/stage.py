"""Make a function runnable as a DVC stage: names and paths in, its section of params last."""

import argparse
import inspect
import logging
import sys
from collections.abc import Callable
from typing import Any

from ecmf.errors import UserError
from ecmf.execution.shard import Shard
from ecmf.params import Params, Sources, load_params

INTERRUPTED = 130
"""Exit code of a program ended by Ctrl-C."""


def main(stage: Callable[..., None]) -> None:
    """Call `stage` with the arguments of the command line and what it asks of `params.yaml`.

    Its parameters are strings and paths, in the order of the command line, then `params` (its own
    section) and, where it reads features, `sources` (the names in the tables of encoders). One that
    takes a `shard` has the option `--shard i/n`: it then only fills the cache with that share.
    A UserError becomes one line on stderr and exit code 1; anything else keeps its traceback.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    signature = inspect.signature(stage)
    parser = argparse.ArgumentParser(description=stage.__doc__)
    for name, parameter in signature.parameters.items():
        if name == "shard":
            parser.add_argument("--shard", metavar="i/n", help="only fill the cache with a share")
        elif name not in ("params", "sources"):
            parser.add_argument(name, type=parameter.annotation)
    arguments = vars(parser.parse_args())
    try:
        if arguments.get("shard"):
            arguments["shard"] = Shard.of(arguments["shard"])
        stage(**arguments, **_from_params(stage.__name__, signature, load_params()))
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _from_params(name: str, signature: inspect.Signature, params: Params) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    if "params" in signature.parameters:
        asked["params"] = getattr(params, name)
    if "sources" in signature.parameters:
        sources: Sources = params.sources
        asked["sources"] = sources
    return asked
