"""The master key's file: its owner's alone, made at the first start, never a fresh one beside an old database, or a credential."""

from pathlib import Path

import pytest

from watchword.flows.master_key import load_master_key
from watchword.settings import Settings, SettingsError


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
    made = load_master_key(settings(tmp_path))
    assert (tmp_path / "watchword.db.key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "watchword.db").touch()
    assert load_master_key(settings(tmp_path)).derive("x") == made.derive("x")


def test_a_key_without_its_database_is_refused_with_the_remedy(tmp_path: Path) -> None:
    write(tmp_path / "watchword.db.key", 0o600)
    with pytest.raises(SettingsError, match=r"restore watchword\.db from the backup"):
        load_master_key(settings(tmp_path))


def test_a_credential_of_systemd_may_be_there_before_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = write(tmp_path / "master-key", 0o440)
    with pytest.raises(SettingsError):
        load_master_key(settings(tmp_path, str(key)))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert load_master_key(settings(tmp_path, str(key))).derive("x")


@pytest.mark.parametrize("mode", [0o444, 0o460, 0o640 | 0o004])
def test_a_credential_that_others_reach_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(SettingsError, match="can be read by others"):
        load_master_key(settings(tmp_path, str(write(tmp_path / "master-key", mode))))


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_variable_may_end_with_the_line_that_it_was_read_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setenv("WATCHWORD_MASTER_KEY", "ab" * 32 + end)
    assert load_master_key(settings(tmp_path)).derive("x")
    monkeypatch.setenv("WATCHWORD_MASTER_KEY", "ab" * 31 + end)
    with pytest.raises(SettingsError, match="64 hexadecimal digits"):
        load_master_key(settings(tmp_path))


def test_a_credential_that_is_not_there_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(SettingsError, match="cannot read"):
        load_master_key(settings(tmp_path, str(tmp_path / "master-key")))
    assert not (tmp_path / "master-key").exists()
