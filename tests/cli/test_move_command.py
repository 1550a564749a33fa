"""`watchword move` at the command line: addresses that are no database, and giving up."""

from pathlib import Path

import pytest
from tests.fixtures.commands import run_cli


@pytest.mark.parametrize(
    ("addresses", "words"),
    [
        (("sqlite:///nothing.db", "sqlite:///new.db"), "there is no database file nothing.db"),
        (("watchword.db", "postgres"), "database: postgres is no address"),
        (("watchword.db", "mysql://db.internal/watchword"), "(or sqlite:///path), or postgresql://"),
        (("mysql://db.internal/watchword", "watchword.db"), "(or sqlite:///path), or postgresql://"),
    ],
)
def test_a_move_names_what_is_no_database(tmp_path: Path, addresses: tuple[str, str], words: str) -> None:
    refused = run_cli(tmp_path, "move", *addresses)
    assert (refused.returncode, words in refused.stderr) == (2, True), refused.stderr


def test_giving_up_says_what_became_of_it_and_is_refused_once_the_database_is_moved(tmp_path: Path) -> None:
    assert run_cli(tmp_path, "migrate").returncode == 0
    nothing = run_cli(tmp_path, "move", "--abandon", "watchword.db")
    assert (nothing.returncode, nothing.stdout) == (0, "no move of this database had begun\n")
    assert run_cli(tmp_path, "move", "watchword.db", "new.db").returncode == 0
    late = run_cli(tmp_path, "move", "--abandon", "watchword.db")
    assert (late.returncode, "was moved away already, which cannot be undone" in late.stderr) == (1, True)
