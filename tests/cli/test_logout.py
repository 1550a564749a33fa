"""`watchword logout` beside other commands of the same sign-in, against a server that says what it sees."""

import fcntl
import os
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tests.fixtures.commands import run_cli
from tests.fixtures.loopback import LoopbackServer

from watchword.client import logins
from watchword.client.logins import Login
from watchword.client.store import Record


def test_nobody_renews_a_sign_in_while_it_is_revoked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the refresh token that is revoked is one that was used already, and its successor lives on."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    revoked: list[str] = []

    async def metadata(request: Request) -> Response:
        issuer = str(request.base_url).rstrip("/")
        return JSONResponse({"issuer": issuer, "revocation_endpoint": f"{issuer}/revoke"})

    async def revoke(request: Request) -> Response:
        (lock,) = tmp_path.rglob("*.lock")
        descriptor = os.open(lock, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            revoked.append((await request.body()).decode())
        finally:
            os.close(descriptor)
        return Response()

    routes = [
        Route("/.well-known/oauth-authorization-server", metadata),
        Route("/revoke", revoke, methods=["POST"]),
    ]
    with LoopbackServer(Starlette(routes=routes)) as server:  # type: ignore[arg-type]  # plain ASGI
        issuer = f"http://localhost:{server.port}"
        login = Login(name="work", issuer=issuer, client_id="a", kept_in="file")
        store = logins.store_of(login)
        with store.lock():
            store.save(Record(logins.source_of(login).owner, refresh_token="secret"))
        logins.save(login)
        done = run_cli(tmp_path, "logout", "work", variables={"XDG_STATE_HOME": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert revoked == ["token=secret&client_id=a"], "and no other process could have used it meanwhile"
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".secret", ".json")]


def test_a_damaged_sign_in_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    login = Login(name="work", issuer="https://as.example.com", client_id="a", kept_in="file")
    logins.save(login)
    for number, damaged in enumerate((b"\xff{", b'{"name":"\xff"}', b"{}")):
        (logins.folder() / f"{number}.json").write_bytes(damaged)
    assert logins.everyone() == [login] == [logins.find(None)]
