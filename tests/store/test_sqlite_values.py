"""How SQLite is given a statement's values: with no word from any Python, whose test runs may make an error of every warning."""

import sqlite3
import warnings

import pytest

from watchword.store.sqlite import transaction
from watchword.store.sqlite.transaction import all_bound, bound


@pytest.mark.parametrize("named", [transaction.NAMED, True])
def test_values_find_their_places(named: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transaction, "NAMED", named)
    connection = sqlite3.connect(":memory:")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert connection.execute("SELECT ?2, ?1, ?2", bound(("one", 2))).fetchone() == (2, "one", 2)
        connection.execute("CREATE TABLE kept (a, b)")
        connection.executemany("INSERT INTO kept VALUES (?2, ?1)", all_bound([(1, b"x"), (2, None)]))
    assert connection.execute("SELECT * FROM kept").fetchall() == [(b"x", 1), (None, 2)]
    connection.close()
