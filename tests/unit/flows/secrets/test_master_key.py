"""The master key's file: its owner's alone, made at the first start, never a fresh one beside an old database, or a credential."""

import os
from pathlib import Path

import pytest

from watchword.flows.databases import start
from watchword.flows.secrets.key_file import read
from watchword.flows.secrets.master_key import load_master_keys
from watchword.settings import Settings, SettingsError
from watchword.store.database import StorageUnavailable


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WATCHWORD_MASTER_KEY", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)


def settings(folder: Path, key_file: str | None = None) -> Settings:
    return Settings(database=str(folder / "watchword.db"), key_file=key_file, issuer="http://localhost")


def write(path: Path, mode: int) -> Path:
    path.write_text("ab" * 32 + "\n")
    path.chmod(mode)
    return path


def test_the_first_start_makes_it_for_its_owner_alone(tmp_path: Path) -> None:
    made = load_master_keys(settings(tmp_path))
    assert (tmp_path / "watchword.db.key").stat().st_mode & 0o777 == 0o600
    assert [key.value for key in load_master_keys(settings(tmp_path))] == [key.value for key in made]


def test_a_key_without_its_database_is_refused_with_the_remedy(tmp_path: Path) -> None:
    write(tmp_path / "watchword.db.key", 0o600)
    with pytest.raises(SettingsError, match=r"restore \S+/watchword\.db from the backup"):
        load_master_keys(settings(tmp_path))


def test_a_first_start_that_ended_before_the_key_was_made_goes_on(tmp_path: Path) -> None:
    made = load_master_keys(settings(tmp_path))
    (tmp_path / "watchword.db.key").unlink()
    assert [key.value for key in load_master_keys(settings(tmp_path))] != [key.value for key in made]


async def test_a_database_that_was_used_gets_no_other_key(tmp_path: Path) -> None:
    await start.close_runtime(await start.open_runtime(settings(tmp_path)))
    (tmp_path / "watchword.db.key").unlink()
    with pytest.raises(SettingsError, match=r"put \S+/watchword\.db\.key back, or set key_file to its path"):
        load_master_keys(settings(tmp_path))
    assert not (tmp_path / "watchword.db.key").exists()


async def test_a_database_that_was_emptied_is_not_begun_anew(tmp_path: Path) -> None:
    await start.close_runtime(await start.open_runtime(settings(tmp_path)))
    os.truncate(tmp_path / "watchword.db", 0)
    with pytest.raises(StorageUnavailable, match=r"is empty: restore it from a backup"):
        await start.open_runtime(settings(tmp_path))


@pytest.mark.parametrize("from_outside", [True, False])
async def test_a_database_of_which_only_the_log_is_left_is_not_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, from_outside: bool
) -> None:
    if from_outside:
        monkeypatch.setenv("WATCHWORD_MASTER_KEY", "ab" * 32)
    (tmp_path / "watchword.db-wal").write_bytes(b"what was committed last")
    with pytest.raises(StorageUnavailable, match=r"is lost, for .*-wal is still there"):
        await start.open_runtime(settings(tmp_path))
    assert not (tmp_path / "watchword.db").exists()


def test_a_credential_of_systemd_may_be_there_before_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = write(tmp_path / "master-key", 0o440)
    with pytest.raises(SettingsError):
        load_master_keys(settings(tmp_path, str(key)))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert len(load_master_keys(settings(tmp_path, str(key)))) == 1


@pytest.mark.parametrize(
    "kept",
    [
        f"{'ab' * 32}\r\n\r\n{'cd' * 32}\r\n\r\n".encode(),
        f"\ufeff{'AB' * 32}\n{'cd' * 32}".encode(),
        f"  {'ab' * 32}  {'cd' * 32}\n{'ab' * 32}\n".encode(),
    ],
    ids=[
        "lines of Windows, and empty ones",
        "a mark of Windows before it, no end of the last line",
        "a key twice",
    ],
)
def test_a_file_may_be_written_by_any_editor(tmp_path: Path, kept: bytes) -> None:
    write(tmp_path / "key", 0o600).write_bytes(kept)
    keys = read(tmp_path / "key", is_credential=False)
    assert [key.value.hex() for key in keys] == ["ab" * 32, "cd" * 32]


@pytest.mark.parametrize(
    "kept",
    [b"", b"\n", b"ab" * 64, b"ab" * 32 + b",", b"# a key\n" + b"ab" * 32, ("ab" * 32).encode("utf-16"), b"\xff" * 64],
    ids=["nothing", "no line", "two lines run together", "a list", "a comment", "UTF-16", "bytes"],
)  # fmt: skip
def test_what_is_no_key_is_refused_and_not_shown(tmp_path: Path, kept: bytes) -> None:
    write(tmp_path / "key", 0o600).write_bytes(kept)
    with pytest.raises(SettingsError, match=r"must hold 64 hexadecimal digits, or several") as refused:
        read(tmp_path / "key", is_credential=False)
    assert "ab" * 8 not in str(refused.value)


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot read the key file .*: Is a directory"):
        read(tmp_path, is_credential=False)


@pytest.mark.parametrize("mode", [0o444, 0o460, 0o640 | 0o004])
def test_a_credential_that_others_reach_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(SettingsError, match="can be read by others"):
        load_master_keys(settings(tmp_path, str(write(tmp_path / "master-key", mode))))


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_variable_may_end_with_the_line_that_it_was_read_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setenv("WATCHWORD_MASTER_KEY", "ab" * 32 + end)
    assert len(load_master_keys(settings(tmp_path))) == 1
    monkeypatch.setenv("WATCHWORD_MASTER_KEY", "ab" * 31 + end)
    with pytest.raises(SettingsError, match="64 hexadecimal digits"):
        load_master_keys(settings(tmp_path))


def test_a_credential_that_is_not_there_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(SettingsError, match="cannot read"):
        load_master_keys(settings(tmp_path, str(tmp_path / "master-key")))
    assert not (tmp_path / "master-key").exists()
