"""The command `ecmf`: one subcommand per task outside the pipeline.

A subcommand is imported when it is called, so that `ecmf --help` does not wait for torch.
"""

import importlib
import logging

import click

from ecmf.cli.ending import EXIT_CODES

COMMANDS = {
    "index": ("index", "Write the manifest of a corpus."),
    "cut": ("cut", "Cut long recordings into utterances, and index them."),
    "import": ("import_features", "Convert external features for the encoder `imported`."),
    "members": ("members", "List the plugins to choose from, their options, needs and licences."),
    "preset": ("preset", "Print a set of parameters as arguments of `dvc exp run`."),
    "labels": ("labels", "Take refined labels and doubts back to a labelling tool."),
    "predict": ("predict", "Predict new clips with a trained model."),
    "model": ("model", "Pack trained models to take them elsewhere, or check a packed folder."),
    "sweep": ("sweep", "Search parameters of train_fusion."),
    "experiments": ("experiments", "List experiments with their changes and scores."),
    "compare": ("compare", "Compare revisions on the same test clips, with intervals."),
    "submit": ("submit", "Write or check a MER2025 submission."),
    "scores": ("scores", "Show the scores of the last evaluation."),
    "doctor": ("doctor", "Check what a run needs on this machine, and name the remedies."),
    "cache": ("cache", "List, verify or prune the cache of results per clip."),
}
"""Module and help line of each subcommand."""


class LazyGroup(click.Group):
    """A group whose subcommands are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the subcommands in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a subcommand."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"ecmf.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in COMMANDS.items()])
        with formatter.section("Exit codes, of stages too"):
            formatter.write_dl([(str(code), meaning) for code, meaning in EXIT_CODES.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run tasks outside the pipeline: index a corpus, import features, search, submit."""
    logging.basicConfig(format="%(levelname)s: %(message)s")
