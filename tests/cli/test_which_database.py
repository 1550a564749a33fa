"""Which database a command uses, and what it says where there is none, or more than one."""

import json
import re
from pathlib import Path

import pytest
from tests.fixtures.commands import run_cli


def test_a_database_that_cannot_be_reached_is_named_without_its_password(tmp_path: Path) -> None:
    address = "postgresql://ada:geheim@127.0.0.1:1/watchword?password=other"
    done = run_cli(tmp_path, "doctor", "--data", "--database", address)
    assert done.returncode == 1
    assert "postgresql://127.0.0.1:1/watchword" in done.stdout
    assert not {"geheim", "other"} & set(re.findall(r"\w+", done.stdout + done.stderr))


def test_a_backup_in_a_wrong_folder_says_that_no_database_is_there(tmp_path: Path) -> None:
    done = run_cli(tmp_path, "backup", "b.gz")
    assert done.returncode == 1
    assert "There is no database watchword.db: name another with --database" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_looks_at_the_database_of_dev_where_it_is_the_only_one(tmp_path: Path) -> None:
    none = run_cli(tmp_path, "doctor")
    assert "there is no database yet" in none.stdout
    assert run_cli(tmp_path, "migrate", "--database", "watchword-dev.db").returncode == 0
    found = run_cli(tmp_path, "doctor")
    assert (found.returncode, "it opens, and its schema is that of this release" in found.stdout) == (0, True)
    assert "using watchword-dev.db" in found.stderr


@pytest.mark.parametrize(
    ("trusted", "warned"), [("10.0.0.0/8", False), ("0.0.0.0/0", True), ("10.0.0.1 ::/0", True)]
)
def test_the_doctor_warns_where_everybody_is_trusted_as_a_proxy(
    tmp_path: Path, trusted: str, warned: bool
) -> None:
    given = {"WATCHWORD_BEHIND_TLS_PROXY": "true", "WATCHWORD_ISSUER": "https://auth.example.com"}
    done = run_cli(tmp_path, "doctor", variables=given | {"WATCHWORD_TRUSTED_PROXIES": trusted})
    assert done.returncode == 0
    assert ("can claim any address" in done.stdout) is warned


def test_of_two_databases_in_a_folder_the_one_that_is_used_is_named(tmp_path: Path) -> None:
    for database in ("watchword.db", "watchword-dev.db"):
        alone = run_cli(
            tmp_path, "token", "create", database, "--owner", "me", "--scope", "a", "--database", database
        )
        assert "using" not in alone.stderr, "an option names it"
    listed = run_cli(tmp_path, "token", "list", "--json")
    assert [token["name"] for token in json.loads(listed.stdout)["tokens"]] == ["watchword.db"]
    assert (
        listed.stderr == "using watchword.db; `--database watchword-dev.db` names that of `watchword dev`\n"
    )
    said = run_cli(tmp_path, "token", "list", variables={"WATCHWORD_DATABASE": "watchword.db"})
    assert said.stderr == "", "an option names it, also to `watchword dev`"
    (tmp_path / "watchword-dev.db").unlink()
    assert run_cli(tmp_path, "token", "list", "--json").stderr == ""


def test_a_database_that_the_settings_name_is_used_though_it_has_the_usual_name(tmp_path: Path) -> None:
    developed = ("token", "create", "x", "--owner", "me", "--scope", "a", "--database", "watchword-dev.db")
    assert run_cli(tmp_path, *developed).returncode == 0
    assert "using watchword-dev.db" in run_cli(tmp_path, "token", "list").stderr
    saved = run_cli(tmp_path, "backup", "saved")
    assert saved.returncode == 0, saved.stdout + saved.stderr
    assert "using watchword-dev.db" in saved.stderr
    (tmp_path / "watchword.toml").write_text('database = "watchword.db"\n')
    refused = run_cli(tmp_path, "token", "list")
    assert (refused.returncode, "There is no database watchword.db" in refused.stderr) == (1, True)
