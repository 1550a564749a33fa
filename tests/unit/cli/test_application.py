"""A command that is called alone is the same as among the others, and brings nothing of theirs."""

import subprocess
import sys
from typing import Any

import pytest
import typer

from watchword.cli.application import MODULES, application

WHOLE: Any = typer.main.get_command(application())


def described(command: Any) -> dict[str, object]:
    """Return what a command and those below it take, and how they are explained."""
    children = getattr(command, "commands", {})
    return {
        "help": command.help,
        "options": [(one.opts, one.required, getattr(one, "help", None)) for one in command.params],
        "below": {name: described(child) for name, child in children.items()},
    }


@pytest.mark.parametrize("name", MODULES)
def test_a_command_alone_is_the_one_among_all(name: str) -> None:
    alone: Any = typer.main.get_command(application(name))
    assert list(alone.commands) == [name]
    assert described(alone.commands[name]) == described(WHOLE.commands[name])


def test_a_word_that_is_no_command_is_met_by_all_of_them() -> None:
    assert WHOLE.list_commands(typer.Context(WHOLE)) == list(MODULES)
    assert described(typer.main.get_command(application("tokn"))) == described(WHOLE)


def test_a_command_does_not_wait_for_what_only_others_need() -> None:
    program = (
        "import sys, watchword.cli.application as a; a.application('token'); print(*sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"watchword.cli.tokens", "typer"} <= loaded
    assert not loaded & {
        "watchword.cli.doctor",
        "watchword.cli.login",
        "watchword.client",
        "httpx",
        "uvicorn",
    }
