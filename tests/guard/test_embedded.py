"""The server in somebody else's process: opened once and closed wholly, in a forked child, mounted in other applications."""

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI
from litestar import Litestar, asgi
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient
from tests.fixtures.forking import in_a_child
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, open_server

from watchword.app import App
from watchword.flows.databases.start import close_runtime, open_runtime
from watchword.guard import Guard, Presented, Refused, background
from watchword.guard.trusted import IssuerUnavailable
from watchword.store import keys
from watchword.store.database import StorageUnavailable

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "embed.md"


async def test_a_server_is_opened_once_and_may_be_opened_again_when_it_is_closed(server: Server) -> None:
    app = server.app
    with pytest.raises(RuntimeError, match="open already"):
        await app.open()
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    await app({"type": "lifespan"}, receive, send)
    assert sent[0]["type"] == "lifespan.startup.failed"
    assert "open already" in sent[0]["message"]
    presented = Presented(authorization=(f"Bearer {(await server.token()).secret}",))
    assert (await Guard(app).authenticate(presented)).subject == "application:reports", "as if nobody had"
    await app.close()
    await app.close()
    both = await asyncio.gather(app.open(), app.open(), return_exceptions=True)
    assert sorted(type(one).__name__ for one in both) == ["Runtime", "RuntimeError"]


async def test_commands_are_for_the_issuer_of_whichever_server_opened_the_database_last(
    server: Server,
) -> None:
    unnamed = msgspec.structs.replace(server.settings, issuer="")
    for issuer in (server.settings.issuer, "https://moved.example.com"):
        app = App(msgspec.structs.replace(server.settings, issuer=issuer))
        await app.open()
        command = await open_runtime(unnamed)
        assert command.settings.issuer == issuer
        await close_runtime(command)
        await app.close()


async def test_a_server_that_is_closed_while_it_opens_is_closed_then(server: Server, tmp_path: Path) -> None:
    new = f"{tmp_path}/new.db"  # whose keys are still to be made
    app = App(msgspec.structs.replace(server.settings, database=new, key_file=None))
    opening = asyncio.ensure_future(app.open())
    await asyncio.sleep(0)
    assert not opening.done(), "it is not open yet"
    await asyncio.gather(app.close(), asyncio.to_thread(asyncio.run, app.close()))
    with pytest.raises(StorageUnavailable, match="closed"):
        await (await opening).database.write(keys.set_fact, "a", "b")
    assert app.runtime is None
    assert await app.open(), "it can be opened again"


async def test_nothing_of_a_server_outlives_its_end(tmp_path: Path, store: Store) -> None:
    threads = set(threading.enumerate())
    async with open_server(tmp_path, on=store.address, jobs=True) as server:
        jobs = tuple(server.app._jobs)
        assert jobs
        await asyncio.to_thread(
            asyncio.run, server.app.close()
        )  # an application ends as it likes, on any loop
        assert all(job.done() for job in jobs)
        left = {
            one.name for one in set(threading.enumerate()) - threads if not one.name.startswith("asyncio")
        }
        assert left <= {"watchword-hash_0"}
        with pytest.raises(ConnectionError, match="not open"):
            await server.app.use_proof("a proof", 60)


async def test_a_server_that_fails_to_close_says_so_and_is_closed(server: Server) -> None:
    asked, sent = asyncio.Queue[Any](), asyncio.Queue[Any]()
    await server.app.close()
    life = asyncio.create_task(server.app({"type": "lifespan"}, asked.get, sent.put))
    await asked.put({"type": "lifespan.startup"})
    assert (await sent.get())["type"] == "lifespan.startup.complete"
    database = server.runtime.database
    server.runtime.usage.count("secret", "token", "active", 2**70, "127.0.0.1")  # no database holds that
    await asked.put({"type": "lifespan.shutdown"})
    ended = await sent.get()
    await life
    assert ended["type"] == "lifespan.shutdown.failed"
    assert ended["message"]
    with pytest.raises(StorageUnavailable, match="closed"):
        await database.write(keys.set_fact, "a", "b")
    assert await server.app.open(), "it is closed, and can be opened again"


async def test_a_forked_child_is_told_to_open_the_server_itself_and_can(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_server(tmp_path, on=store.address) as server:
        guard = Guard(server.app, clock=server.clock)
        presented = Presented(authorization=(f"Bearer {(await server.token()).secret}",))
        assert (await guard.authenticate(presented)).subject == "application:reports"

        def asked() -> list[object]:
            try:
                guard.authenticate_sync(presented)
            except Refused as refused:
                return [refused.status, caplog.text]
            return ["it was answered by what the parent has open"]

        async def opened() -> str:
            await server.app.close()
            await server.app.open()
            try:
                return (await guard.authenticate(presented)).subject
            finally:
                await server.app.close()

        status, said = in_a_child(asked)
        assert status == 503
        assert "opened before this process was forked" in said
        assert in_a_child(lambda: asyncio.run(opened())) == "application:reports"
        assert (await guard.authenticate(presented)).subject == "application:reports", "the parent goes on"
        assert await server.app.use_proof("a proof", 60)


AT_EXIT = """
import asyncio, atexit, sys, threading
from watchword import settings
from watchword.app import App

app = App(settings.load({"issuer": "http://localhost", "database": sys.argv[1], "jobs": False}))
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()

def on_the_loop(work):
    return asyncio.run_coroutine_threadsafe(work, loop).result(20)

on_the_loop(app.open())
atexit.register(lambda: (on_the_loop(app.close()), print("closed")))
"""


def test_a_server_is_closed_while_the_process_ends(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AT_EXIT, str(tmp_path / "watchword.db")],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert (done.stdout, done.stderr) == ("closed\n", ""), "Python starts no thread any more by then"
    assert not (tmp_path / "watchword.db-wal").exists(), "nothing has the file open"


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


async def test_a_server_that_nobody_opened_says_how(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    await server.app.close()
    assert (await server.http.get("/sign-in")).status_code == 503
    assert "await app.open()" in capsys.readouterr().err


async def test_where_threads_are_greenlets_of_one_that_runs_a_loop_already_callers_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Green(threading.Thread):
        """A thread as eventlet makes them: to asyncio, what runs in it runs in the thread that started it."""

        def start(self) -> None:
            with contextlib.suppress(RuntimeError):  # a thread's failure is not its starter's
                self.run()

    monkeypatch.setattr(background, "_current", background._Thread())  # of a process that has just begun
    descriptors = os.listdir("/dev/fd")
    with monkeypatch.context() as patched:
        patched.setattr(threading, "Thread", Green)
        for _ in range(3):
            with pytest.raises(IssuerUnavailable, match="another loop is running"):
                background.begin(asyncio.sleep(0))
    assert len(os.listdir("/dev/fd")) == len(descriptors)
    assert background.run(asyncio.sleep(0, "done")) == "done", "the honest variant"
    loop = background._here().loop
    assert loop is not None
    loop.call_soon_threadsafe(loop.stop)


def test_the_guide_works_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    programs = dict(re.findall(r'```python title="(\S+)"\n(.*?)```', GUIDE.read_text("utf-8"), re.DOTALL))
    assert set(programs) == {"main.py", "orders.py"}
    names: dict[str, Any] = {}
    exec(compile(programs["main.py"], "main.py", "exec"), names)
    with TestClient(names["app"], base_url="https://example.com") as http:
        assert http.get("/auth/.well-known/openid-configuration").json()["issuer"] == names["auth"].issuer
        assert http.get("/.well-known/oauth-authorization-server/auth").status_code == 200
        assert http.get("/orders").status_code == 401
    exec(compile(programs["orders.py"], "orders.py", "exec"), names)
    try:
        with pytest.raises(Refused) as refused:
            names["guard"].authenticate_sync(Presented(authorization=()))
        assert refused.value.status == 401
    finally:
        names["close"]()
    assert names["auth"].runtime is None
