"""Tokens kept in a folder that others can write to as well."""

import os
import threading
from pathlib import Path

import pytest

from watchword.client import FileStore
from watchword.client.store import Record


def test_nothing_is_written_to_what_others_put_into_a_shared_folder(tmp_path: Path) -> None:
    """Whoever foresaw the temporary name would read the tokens, or have another file of ours overwritten."""
    store, ours = FileStore(tmp_path / "token.json"), tmp_path / "ours"
    ours.write_text("ours")
    named = tmp_path / f"token.json.{os.getpid()}.{threading.get_ident()}"
    for put in (
        lambda: named.hardlink_to(ours),
        lambda: named.symlink_to(ours),
        lambda: named.symlink_to("nowhere"),
        lambda: named.symlink_to(named),
        lambda: os.mkfifo(named),
    ):
        put()
        with store.room():
            store.save(Record("ada", access_token="secret"))
            store.save(Record("ada", access_token="again"))
        assert (record := store.load()) is not None
        assert record.access_token == "again"
        assert ours.read_text() == "ours"
        named.unlink()
    assert {path.name for path in tmp_path.iterdir()} == {"ours", "token.json"}


def test_a_lock_is_made_where_it_belongs_and_nowhere_else(tmp_path: Path) -> None:
    store, lock = FileStore(tmp_path / "token.json"), tmp_path / "token.json.lock"
    with store.lock():
        assert lock.stat().st_size == 0
    lock.unlink()
    lock.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"token\.json\.lock"), store.lock():
        pass
    assert not (tmp_path / "elsewhere").exists()
