"""Pack trained models to take them elsewhere, and check a packed folder: `ecmf model`."""

from pathlib import Path

import click

from ecmf.cli.command import Command
from ecmf.inference import packing
from ecmf.inference.model_card import FILE_NAME, licences
from ecmf.training.model_metadata import ModelMetadata


def summary(metadata: ModelMetadata) -> str:
    """Describe the models in one line."""
    members = ", ".join(f"{len(member.runs)} of {member.name}" for member in metadata.members)
    return f"models {members}, trained on {metadata.corpus}: {', '.join(metadata.outputs)}"


@click.group("model")
def command() -> None:
    """Pack trained models into a folder that travels, or check such a folder.

    \b
    Example:
      ecmf model pack models/fusion ../emotions
      ecmf model check ../emotions
    """  # noqa: D301


@command.command("pack", cls=Command)
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def pack_command(folder: Path, out: Path) -> str:
    """Write the evaluated models of FOLDER, with a card, into the new folder OUT."""
    metadata = packing.pack(folder, out)
    lines = [f"{out}: {summary(metadata)}; {FILE_NAME} is its card", *licences(metadata)]
    return "\n  ".join(lines)


@command.command("check", cls=Command)
@click.argument("folder", type=click.Path(path_type=Path))
def check_command(folder: Path) -> str:
    """Verify every digest in FOLDER, and load all of its models."""
    return f"{folder} is complete and loads: {summary(packing.check(folder))}"
