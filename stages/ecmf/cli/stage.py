"""Run a function as a DVC stage, with arguments from the command line and from `params.yaml`."""

import argparse
import inspect
import logging
import sys
from collections.abc import Callable
from typing import Any

from ecmf.cli.ending import exit_codes
from ecmf.cli.stage_log import stage_log
from ecmf.execution.shard import Shard
from ecmf.params import Params, load_params


def main(stage: Callable[..., None]) -> None:
    """Call `stage` with the arguments of the command line and its section of `params.yaml`.

    The parameters of `stage` are strings and paths, in the order of the command line, then `params`
    (its own section) and, if it reads features, `sources` (names of encoders). A parameter `shard`
    adds the option `--shard i/n`, which only fills the cache with that shard. Errors and signals
    end the program as in `exit_codes`; `stage_log` writes the log.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    signature = inspect.signature(stage)
    parser = argparse.ArgumentParser(description=stage.__doc__)
    for name, parameter in signature.parameters.items():
        if name == "shard":
            parser.add_argument("--shard", metavar="i/n", help="only fill the cache with a shard")
        elif name not in ("params", "sources"):
            parser.add_argument(name, type=parameter.annotation)
    arguments = vars(parser.parse_args())
    name = "@".join([stage.__name__, *([arguments["encoder"]] if "encoder" in arguments else [])])
    with exit_codes(), stage_log(name):
        if arguments.get("shard"):
            arguments["shard"] = Shard.parse(arguments["shard"])
        stage(**arguments, **_from_params(stage.__name__, signature, load_params()))


def _from_params(name: str, signature: inspect.Signature, params: Params) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    if "params" in signature.parameters:
        arguments["params"] = getattr(params, name)
    if "sources" in signature.parameters:
        arguments["sources"] = params.sources
    return arguments
