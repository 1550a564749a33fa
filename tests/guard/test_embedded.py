"""The server mounted in other applications."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from litestar import Litestar, asgi
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.fixtures.servers import Server, open_server

from watchword.app import App


def starlette(app: App, prefix: str) -> Any:
    """Mount the server as Starlette and FastAPI do, which leave the path whole."""
    return Starlette(routes=[Mount(prefix, app), Mount("/.well-known", app)])


def fastapi(app: App, prefix: str) -> Any:
    """As `starlette`."""
    api = FastAPI()
    api.mount(prefix, app)
    api.mount("/.well-known", app)
    return api


def litestar(app: App, prefix: str) -> Any:
    """Mount the server as Litestar does: it hands on the rest of the path and a slash, and tells of no mount."""
    mounts = [asgi(path, is_mount=True, copy_scope=True)(app) for path in (prefix, "/.well-known")]
    return Litestar(route_handlers=mounts)


def dispatched(app: App, prefix: str) -> Any:
    """Hand on what begins with the prefix, as an `asgi.py` of Django may."""

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        assert scope["path"].startswith((prefix, "/.well-known"))
        await app(scope, receive, send)

    return outer


def stripped(app: App, prefix: str) -> Any:
    """Hand on the rest of the path, as mounts did before ASGI said that it is whole, and servers do with a `root_path`."""

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        rest = {"path": path.removeprefix(prefix), "root_path": prefix} if path.startswith(prefix) else {}
        await app({**scope, **rest}, receive, send)

    return outer


@pytest.mark.parametrize(
    ("mounted", "path"),
    [
        (starlette, "/auth"),
        (starlette, "/api"),  # as its own routes begin
        (fastapi, "/auth"),
        (litestar, "/api"),
        (dispatched, "/auth"),
        (stripped, "/auth"),
    ],
)
async def test_every_address_is_found_where_the_server_is_mounted(
    tmp_path: Path, mounted: Callable[[App, str], Any], path: str
) -> None:
    async with open_server(tmp_path, issuer=f"http://localhost{path}") as server:
        transport = httpx.ASGITransport(app=mounted(server.app, path), client=("127.0.0.1", 50_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            found = await http.get(f"{path}/.well-known/openid-configuration")
            inserted = await http.get(f"/.well-known/oauth-authorization-server{path}")
            assert found.json()["issuer"] == inserted.json()["issuer"] == server.app.issuer
            assert (await http.get(found.json()["jwks_uri"])).json()["keys"]
            answers = {
                "/sign-in": 200,
                "/healthz": 200,
                "/token": 405,
                "/api/v1/tokens/self": 401,
                "/api/v1/tokens/a%2Fb": 401,
                "/nothing": 404,
            }
            for rest, status in answers.items():
                assert (await http.get(path + rest)).status_code == status, rest


async def test_a_server_that_is_mounted_elsewhere_than_its_issuer_says_so_once(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    transport = httpx.ASGITransport(app=starlette(server.app, "/auth"))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        assert (await http.get("/.well-known/nothing")).status_code == 404
        assert "mount.elsewhere" not in capsys.readouterr().err, "that is where the well-known addresses are"
        for _ in range(2):
            assert (await http.get("/auth/healthz")).status_code == 404
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "mount.elsewhere" in line]
    assert json.loads(said)["mounted_at"] == "/auth"
