"""Check what a run needs on this machine, and name the remedies: `ecmf doctor`."""

from collections.abc import Callable, Iterator, Mapping

import click

from ecmf.cli.doctor_checks import CHECKS, Finding
from ecmf.cli.ending import exit_codes
from ecmf.errors import UserError
from ecmf.storage.disk import disk_error


def examine(checks: Mapping[str, Callable[[], Finding]]) -> Iterator[tuple[str, Finding]]:
    """Yield the name and the finding of each check; an error is a finding with its remedy."""
    for name, check in checks.items():
        try:
            yield name, check()
        except UserError as error:
            yield name, Finding("an error", str(error))
        except OSError as error:
            yield name, Finding("an error", str(disk_error(error) or error))


@click.command("doctor")
@click.pass_context
def command(ctx: click.Context) -> None:
    """Check packages, devices, disk, cache, locks, manifest, DVC and hub; exit code 1 if any fails.

    \b
    Example:
      ecmf doctor
    """  # noqa: D301
    failed = False
    with exit_codes():
        for name, finding in examine(CHECKS):
            click.echo(f"{'TODO' if finding.remedy else 'ok':4} {name:9} {finding.result}")
            if finding.remedy:
                click.echo(f"     {'':9} -> {finding.remedy}")
            failed = failed or bool(finding.remedy)
    ctx.exit(int(failed))
