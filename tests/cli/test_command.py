import click
import pytest
from click.testing import CliRunner

from ecmf.cli.command import Command
from ecmf.cli.ending import INTERRUPTED
from ecmf.cli.main import COMMANDS, main


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_subcommand_shows_its_example_unwrapped(name):
    command = main.get_command(click.Context(main), name)
    assert "\n\n  Example:\n    " in command.get_help(click.Context(command, info_name=name))


def test_ctrl_c_ends_a_command_with_the_exit_code_of_an_interrupted_program():
    def interrupted():
        raise KeyboardInterrupt

    command = Command("sweep", callback=interrupted)
    assert CliRunner().invoke(command).exit_code == INTERRUPTED


def test_an_exit_code_that_a_command_chooses_is_its_exit_code_without_a_traceback():
    command = Command("verify", callback=lambda: click.get_current_context().exit(65))
    done = CliRunner().invoke(command)
    assert (done.exit_code, done.output) == (65, "")
