"""List, verify and prune the cache of results per clip: `ecmf cache`."""

import json
import time

import click
from tqdm import tqdm

from ecmf.cli.command import Command
from ecmf.execution import result_cache

SECONDS_PER_DAY = 86_400


def listing() -> str:
    """Return one line per recipe: clips, size, last use, name and options."""
    lines = [f"{result_cache.root_folder()}: at most {result_cache.size_limit() / 1e9:g} GB"]
    total = 0
    for recipe in result_cache.recipe_folders():
        packs = result_cache.pack_paths(recipe)
        if not packs:
            continue
        stats = [pack.stat() for pack in packs]
        size = sum(stat.st_size for stat in stats)
        total += size
        age = time.time() - max(stat.st_mtime for stat in stats)
        about = json.loads((recipe / result_cache.RECIPE_FILE).read_text(encoding="utf-8"))
        lines.append(
            f"{recipe.name}  {result_cache.count_clips(recipe):>8} clips {size / 1e6:>10.1f} MB  "
            f"used {age / SECONDS_PER_DAY:>5.1f} days ago  {about['name']} "
            f"{_plugin(about['identity'])}".rstrip()
        )
    return "\n".join([*lines, f"{total / 1e6:.1f} MB in all"])


def _plugin(identity: dict[str, object]) -> str:
    name = str(identity.get("encoder") or identity.get("provider", ""))
    return " ".join(filter(None, [name, json.dumps(identity.get("options") or {})]))


def verify() -> tuple[str, bool]:
    """Read all results; return a summary, and whether any result was damaged."""
    intact = damaged = 0
    for recipe in tqdm(list(result_cache.recipe_folders()), "verify", unit="recipe", disable=None):
        good, bad = result_cache.verify(recipe)
        intact, damaged = intact + good, damaged + bad
    return f"{intact} results are intact, {damaged} were damaged and are discarded", damaged > 0


def prune(gigabytes: float | None) -> str:
    """Remove the least recently used packs; return a summary."""
    limit = result_cache.size_limit() if gigabytes is None else int(gigabytes * 1e9)
    done = result_cache.prune(limit)
    return (
        f"{done.packs} packs, {done.bytes / 1e6:.1f} MB removed; {done.bytes_left / 1e6:.1f} MB "
        f"left in {result_cache.root_folder() / result_cache.CLIPS}"
    )


@click.group("cache")
def command() -> None:
    """List, verify or prune the cache of results per clip. Deleting it changes no output.

    \b
    Example:
      ecmf cache list
      ecmf cache prune --gigabytes 20
    """  # noqa: D301


@command.command("list", cls=Command)
def list_command() -> str:
    """List the cached results by recipe."""
    return listing()


@command.command("verify", cls=Command)
@click.pass_context
def verify_command(ctx: click.Context) -> None:
    """Read all results and discard damaged ones; exit code 1 if any was damaged."""
    text, damaged = verify()
    click.echo(text)
    ctx.exit(int(damaged))


@command.command("prune", cls=Command)
@click.option("--gigabytes", type=float, help="Size limit; default: ECMF_CACHE_GIGABYTES or 100.")
def prune_command(gigabytes: float | None) -> str:
    """Remove the least recently used results."""
    return prune(gigabytes)
