"""Look after the cache of results per clip: `python stages/cache.py list`, `verify` or `prune`.

Deleting any part of it changes no output; what is missing is worked out again.
"""

import argparse
import json
import logging
import sys
import time

from tqdm import tqdm

from ecmf import cache
from ecmf.errors import UserError

SECONDS_PER_DAY = 86_400


def listing() -> str:
    """One line per recipe: how much is kept of it, when it was last used, what it is."""
    lines = [f"{cache.folder()}: at most {cache.most_bytes() / 1e9:g} GB"]
    total = 0
    for recipe in cache.recipes():
        packs = cache.packs_of(recipe)
        if not packs:
            continue
        states = [pack.stat() for pack in packs]
        size = sum(state.st_size for state in states)
        total += size
        newest = max(state.st_mtime for state in states)
        about = json.loads((recipe / cache.ABOUT).read_text(encoding="utf-8"))
        lines.append(
            f"{recipe.name}  {cache.count(recipe):>8} clips {size / 1e6:>10.1f} MB  used "
            f"{(time.time() - newest) / SECONDS_PER_DAY:>5.1f} days ago  {about['name']} "
            f"{_what(about['identity'])}".rstrip()
        )
    return "\n".join([*lines, f"{total / 1e6:.1f} MB in all"])


def _what(identity: dict[str, object]) -> str:
    options = identity.get("options") or {}
    return " ".join(filter(None, [str(identity.get("member", "")), json.dumps(options)]))


def verified() -> tuple[str, bool]:
    """Read all results; say how many were damaged, and whether any was."""
    sound = damaged = 0
    for recipe in tqdm(list(cache.recipes()), "verify", unit="recipe", disable=None):
        fine, bad = cache.verify(recipe)
        sound, damaged = sound + fine, damaged + bad
    return f"{sound} results are sound, {damaged} were damaged and are forgotten", damaged > 0


def pruned(gigabytes: float | None) -> str:
    """Remove what was used longest ago."""
    most = cache.most_bytes() if gigabytes is None else int(gigabytes * 1e9)
    done = cache.prune(most)
    return (
        f"{done.packs} packs, {done.bytes / 1e6:.1f} MB removed; {done.bytes_left / 1e6:.1f} MB "
        f"left in {cache.folder() / cache.CLIPS}"
    )


def main() -> int:
    """Read the command line; 1 where something was damaged or cannot be done."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="what is kept, by encoder")
    commands.add_parser("verify", help="read everything, forget what is damaged")
    prune = commands.add_parser("prune", help="remove what was used longest ago")
    prune.add_argument("--gigabytes", type=float, help="what may stay; else ECMF_CACHE_GIGABYTES")
    given = parser.parse_args()
    logging.basicConfig(format="%(levelname)s: %(message)s")
    try:
        if given.command == "list":
            said, fault = listing(), False
        elif given.command == "verify":
            said, fault = verified()
        else:
            said, fault = pruned(given.gigabytes), False
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"{said}\n")
    return int(fault)


if __name__ == "__main__":
    sys.exit(main())
