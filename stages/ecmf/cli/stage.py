"""Run a function as a DVC stage, with arguments from the command line and from `params.yaml`."""

import argparse
import inspect
import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ecmf.cli.ending import exit_codes
from ecmf.cli.stage_log import stage_log
from ecmf.data.fold_limits import check_folds
from ecmf.data.manifest import read_manifest
from ecmf.execution.shard import Shard
from ecmf.params import Params, load_params

Check = Callable[[Mapping[str, Any], Params], None]
"""Check the arguments of a stage against all parameters; raises a UserError."""

OF_PARAMS = ("sources", "preparation")
"""Properties of `Params` that a stage may have as a parameter of the same name."""


def main(stage: Callable[..., None], check: Check | None = None) -> None:
    """Call `stage` with the arguments of the command line and its section of `params.yaml`.

    The parameters of `stage` are strings and paths, in the order of the command line, then `params`
    (its own section) and, if it reads features, `sources` (names of encoders) and `preparation`
    (sections of the stages that made them). A parameter `shard` adds the option `--shard i/n`,
    which only fills the cache with that shard. `check` is called before it. Errors and signals end
    the program as in `exit_codes`; `stage_log` writes the log.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    signature = inspect.signature(stage)
    parser = argparse.ArgumentParser(description=stage.__doc__)
    for name, parameter in signature.parameters.items():
        if name == "shard":
            parser.add_argument("--shard", metavar="i/n", help="only fill the cache with a shard")
        elif name not in ("params", *OF_PARAMS):
            parser.add_argument(name, type=parameter.annotation)
    arguments = vars(parser.parse_args())
    name = "@".join([stage.__name__, *([arguments["encoder"]] if "encoder" in arguments else [])])
    with exit_codes(), stage_log(name):
        if arguments.get("shard"):
            arguments["shard"] = Shard.parse(arguments["shard"])
        params = load_params()
        if check is not None:
            check(arguments, params)
        stage(**arguments, **_from_params(stage.__name__, signature, params))


def check_corpus(arguments: Mapping[str, Any], params: Params) -> None:
    """Raise what the manifest alone decides, such as the folds, before hours of work."""
    check_folds(read_manifest(arguments["manifest"]), params.train_fusion, params.refine_labels)


def _from_params(name: str, signature: inspect.Signature, params: Params) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    if "params" in signature.parameters:
        arguments["params"] = getattr(params, name)
    parts = [part for part in OF_PARAMS if part in signature.parameters]
    return arguments | {part: getattr(params, part) for part in parts}
