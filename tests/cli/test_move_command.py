"""`watchword move` at the command line: addresses that are no database."""

from pathlib import Path

import pytest
from tests.fixtures.commands import run_cli


@pytest.mark.parametrize(
    ("addresses", "words"),
    [
        (("sqlite:///nothing.db", "sqlite:///new.db"), "there is no database file nothing.db"),
        (("watchword.db", "mysql://db.internal/watchword"), "an SQLite file, or postgresql://"),
        (("mysql://db.internal/watchword", "watchword.db"), "an SQLite file, or postgresql://"),
    ],
)
def test_a_move_names_what_is_no_database(tmp_path: Path, addresses: tuple[str, str], words: str) -> None:
    refused = run_cli(tmp_path, "move", *addresses)
    assert (refused.returncode, words in refused.stderr) == (2, True), refused.stderr
