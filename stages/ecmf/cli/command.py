"""Print the text that a subcommand returns, and a UserError as one line."""

from typing import Any

import click

from ecmf.cli.ending import exit_codes


class Command(click.Command):
    """A subcommand that returns text; errors and signals end it as in `exit_codes`."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with exit_codes():
            text = super().invoke(ctx)
        if text is not None:
            click.echo(text)
        return None
