import click
import pytest

from ecmf.cli.main import COMMANDS, main


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_subcommand_shows_its_example_unwrapped(name):
    command = main.get_command(click.Context(main), name)
    assert "\n\n  Example:\n    " in command.get_help(click.Context(command, info_name=name))
