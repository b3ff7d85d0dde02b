"""Print the text that a subcommand returns, and a UserError as one line."""

from typing import Any

import click

from ecmf.errors import UserError

INTERRUPTED = 130
"""Exit code of a program ended by Ctrl-C."""


class Command(click.Command):
    """A subcommand that returns text; a UserError is one line on stderr and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            text = super().invoke(ctx)
        except UserError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        if text is not None:
            click.echo(text)
        return None
