"""The files of the embedded database, taken from under the server: nothing is acknowledged that would be gone with it (F-06)."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fixtures.postgres import AUDIT_KEY, Store
from tests.store.made import breaks, count, note

from watchword.store.database import StorageUnavailable
from watchword.store.sqlite import file


def remove(path: Path) -> None:
    path.unlink()


def replace_by_a_copy(path: Path) -> None:
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)


@pytest.mark.parametrize("harm", [remove, replace_by_a_copy])
@pytest.mark.parametrize("end", ["", "-wal", "-shm"])
async def test_nothing_is_acknowledged_once_a_file_was_taken_from_under_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, harm: Callable[[Path], None]
) -> None:
    monkeypatch.setattr(file, "LOOK", 0)
    kept = Store("sqlite", str(tmp_path / "watchword.db"))
    nodes = [await kept.node() for _ in range(2)]  # two processes would do the same
    for node in nodes:
        await node.write(note, "before")
    harm(Path(kept.address + end))
    for node in (*nodes, *nodes):
        with pytest.raises(StorageUnavailable, match=f"watchword.db{end} was removed or replaced"):
            await node.write(note, "refused")
    await kept.close()
    if end or harm is replace_by_a_copy:  # what was acknowledged is in the file after an orderly stop
        again = await kept.node()
        assert await count(again, "events") == 2
        await again.write(note, "after")
        assert await breaks(again, AUDIT_KEY) == []
        await kept.close()
    else:
        with pytest.raises(StorageUnavailable, match="is lost"):
            await kept.make().open()


@pytest.mark.parametrize("linked", [False, True])
async def test_a_file_that_is_where_it_was_is_not_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: bool
) -> None:
    monkeypatch.setattr(file, "LOOK", 0)
    for folder in ("here", "there", "elsewhere"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    if linked:
        Path("watchword.db").symlink_to(tmp_path / "there" / "watchword.db")
    kept = Store("sqlite", "watchword.db")
    first, second = await kept.node(), await kept.node()
    monkeypatch.chdir(tmp_path / "elsewhere")
    await first.write(note, "after a change of folders")
    await second.close()
    await first.write(note, "after another process has closed it")
    if linked:
        (tmp_path / "there").rename(tmp_path / "moved")
        with pytest.raises(StorageUnavailable, match=r"watchword.db was removed or replaced"):
            await first.write(note, "refused")
        (tmp_path / "moved").rename(tmp_path / "there")
        await first.write(note, "after everything was put back")
    await kept.close()
