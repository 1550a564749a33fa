"""`watchword login` where the sign-in cannot be remembered: it is said what helps, and no secret is left that no `logout` would find."""

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest
import typer
from tests.client.conftest import Foreign
from tests.fixtures.commands import run_cli

from watchword.cli.login import print_token
from watchword.client import FileStore

# One document answers the device's request and the question for its tokens.
GIVEN = {
    "device_code": "d",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://auth.example.com/device",
    "interval": 1,
    "access_token": "access",
    "token_type": "Bearer",
    "refresh_token": "refresh",
}


def test_a_sign_in_that_cannot_be_remembered_leaves_no_secret(foreign: Foreign, tmp_path: Path) -> None:
    foreign.answer = GIVEN
    foreign.metadata = dict.fromkeys(
        ("device_authorization_endpoint", "revocation_endpoint"), f"{foreign.issuer}/token"
    )

    def login(name: str) -> subprocess.CompletedProcess[str]:
        options = ("--client-id", "a", "--device", "--file-store", "--name", name, "--json")
        return run_cli(
            tmp_path, "login", foreign.issuer, *options, variables={"XDG_STATE_HOME": str(tmp_path)}
        )

    assert login("home").returncode == 0
    assert any("refresh" in path.read_text() for path in (tmp_path / "watchword").iterdir())
    kept = set((tmp_path / "watchword").iterdir())
    in_the_way = tmp_path / "watchword" / (hashlib.sha256(b"work").hexdigest()[:24] + ".json")
    in_the_way.mkdir()
    refused = login("work")
    assert (refused.returncode, json.loads(refused.stdout)["error"]) == (1, "unavailable")
    left = set((tmp_path / "watchword").iterdir()) - kept - {in_the_way}
    assert [path.suffix for path in left] == [".lock"]


def test_who_has_no_home_folder_is_told_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a container whose user the system does not know, for example."""

    def said() -> str:
        with pytest.raises(typer.Exit) as left:
            print_token(None, as_json=True)
        assert left.value.exit_code == 1
        described: str = json.loads(capsys.readouterr().out)["error_description"]
        return described

    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert said().startswith("you are not signed in: use watchword login")
    assert FileStore("~/tokens.json").path == tmp_path / "tokens.json"
    monkeypatch.delenv("HOME")
    assert "XDG_STATE_HOME" in said()
    with pytest.raises(ValueError, match="without ~"):
        FileStore("~/tokens.json")
