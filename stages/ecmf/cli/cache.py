"""Look after the cache of results per clip: `python stages/cache.py list`, `verify` or `prune`.

Deleting any part of it changes no output; what is missing is worked out again.
"""

import json
import time

import click
from tqdm import tqdm

from ecmf.cli.command import Command
from ecmf.execution import result_cache

SECONDS_PER_DAY = 86_400


def listing() -> str:
    """One line per recipe: how much is kept of it, when it was last used, what it is."""
    lines = [f"{result_cache.folder()}: at most {result_cache.most_bytes() / 1e9:g} GB"]
    total = 0
    for recipe in result_cache.recipes():
        packs = result_cache.packs_of(recipe)
        if not packs:
            continue
        states = [pack.stat() for pack in packs]
        size = sum(state.st_size for state in states)
        total += size
        newest = max(state.st_mtime for state in states)
        about = json.loads((recipe / result_cache.ABOUT).read_text(encoding="utf-8"))
        lines.append(
            f"{recipe.name}  {result_cache.count(recipe):>8} clips {size / 1e6:>10.1f} MB  used "
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
    for recipe in tqdm(list(result_cache.recipes()), "verify", unit="recipe", disable=None):
        fine, bad = result_cache.verify(recipe)
        sound, damaged = sound + fine, damaged + bad
    return f"{sound} results are sound, {damaged} were damaged and are forgotten", damaged > 0


def pruned(gigabytes: float | None) -> str:
    """Remove what was used longest ago."""
    most = result_cache.most_bytes() if gigabytes is None else int(gigabytes * 1e9)
    done = result_cache.prune(most)
    return (
        f"{done.packs} packs, {done.bytes / 1e6:.1f} MB removed; {done.bytes_left / 1e6:.1f} MB "
        f"left in {result_cache.folder() / result_cache.CLIPS}"
    )


@click.group("cache")
def command() -> None:
    r"""List, verify or prune the cache of results per clip. Deleting it changes no output.

    \b
    Example:
      ecmf cache list
      ecmf cache prune --gigabytes 20
    """


@command.command("list", cls=Command)
def list_command() -> str:
    """List what is cached, by encoder."""
    return listing()


@command.command("verify", cls=Command)
@click.pass_context
def verify_command(ctx: click.Context) -> None:
    """Read everything and discard what is damaged; exit code 1 if anything was."""
    text, damaged = verified()
    click.echo(text)
    ctx.exit(int(damaged))


@command.command("prune", cls=Command)
@click.option("--gigabytes", type=float, help="What may stay; else ECMF_CACHE_GIGABYTES.")
def prune_command(gigabytes: float | None) -> str:
    """Remove what was used longest ago."""
    return pruned(gigabytes)
