"""Starts `watchword serve` on a fresh database for the benchmark, with its clients and people in it, and reads the CPU that it used."""

import asyncio
import base64
import contextlib
import os
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.conversations import CALLBACK, SCOPE, WITHOUT_ID_TOKEN, Server
from bench.load import free_port
from watchword.app import App
from watchword.flows import sessions
from watchword.flows.clients import client_registry
from watchword.flows.clients.client_metadata import ClientInput
from watchword.flows.runtime import Runtime
from watchword.flows.users import accounts
from watchword.settings import Settings
from watchword.store import consents

PATIENCE = 20.0
MASTER_KEY = "WATCHWORD_MASTER_KEY"

# As it is installed: uvicorn loads watchfiles where it finds it, which only the tools of this repository bring.
INSTALLED = "import sys; sys.modules['watchfiles'] = None; from watchword.cli import main; main()"


@dataclass(frozen=True, slots=True)
class Watchword:
    """A running server; `started` is how many seconds the first token took.

    `jwt` and `opaque` are its clients for machines by token format, `people` the one by which people come; each of `cookies` is
    somebody's live session.
    """

    process: psutil.Process
    jwt: Server
    opaque: Server
    people: Server
    cookies: Sequence[str]
    first_token: float

    def cpu(self) -> float:
        """CPU seconds used so far, by all threads."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def memory(self) -> float:
        """Resident bytes now."""
        return float(self.process.memory_info().rss)


@contextlib.contextmanager
def running(
    core: int | None = None,
    database: str = "watchword.db",
    people: int = 0,
    *,
    password: str | None = None,
    variables: Mapping[str, str] | None = None,
) -> Iterator[Watchword]:
    """Start a server with its clients and so many people signed in, who have a password if one is given; stop it at the end."""
    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        environment = _environment()
        settings = Settings(
            database=_placed(database, directory), issuer=f"http://127.0.0.1:{port}", jobs=False
        )
        credentials, cookies = asyncio.run(_prepare(settings, environment[MASTER_KEY], people, password))
        started = time.perf_counter()
        options = ("--port", str(port), "--issuer", settings.issuer, "--database", settings.database)
        server = subprocess.Popen(
            [sys.executable, "-c", INSTALLED, "serve", *options],
            cwd=directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment | dict(variables or {}),
        )
        clients = {name: Server(port, pair) for name, pair in credentials.items()}
        try:
            first = _first_token(clients["opaque"], started)
            process = psutil.Process(server.pid)
            if core is not None:
                process.cpu_affinity([core])
            yield Watchword(process, **clients, cookies=cookies, first_token=first)
        finally:
            server.terminate()
            server.wait(30)


def _placed(database: str, directory: str) -> str:
    return database if database.startswith("postgresql://") else str(Path(directory) / database)


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WATCHWORD_")}
    return kept | {"WATCHWORD_LOG_LEVEL": "error", MASTER_KEY: os.urandom(32).hex()}


async def _prepare(
    settings: Settings, master_key: str, people: int, password: str | None
) -> tuple[dict[str, str], list[str]]:
    """Make clients, people, consents and sessions in the database; return credentials by client, and cookies."""
    os.environ[MASTER_KEY] = master_key
    app = App(settings)
    runtime = await app.open()
    machine = {"scope": "read introspect"}
    person = {
        "scope": f"{SCOPE} {WITHOUT_ID_TOKEN}",
        "redirect_uris": [CALLBACK],
        "grant_types": ["authorization_code", "refresh_token"],
        "access_token_format": "opaque",
    }
    credentials = {
        "jwt": await _client(runtime, **machine),
        "opaque": await _client(runtime, **machine, access_token_format="opaque"),
        "people": await _client(runtime, **person),
    }
    client_id = base64.b64decode(credentials["people"]).decode().partition(":")[0]
    cookies = [await _signed_in(runtime, number, client_id, password) for number in range(people)]
    await app.close()
    del os.environ[MASTER_KEY]
    return credentials, cookies


async def _client(runtime: Runtime, **given: object) -> str:
    made = await client_registry.register(runtime, ClientInput(name="bench", **given), actor="bench")  # type: ignore[arg-type]
    return base64.b64encode(f"{made.client.client_id}:{made.client_secret}".encode()).decode()


async def _signed_in(runtime: Runtime, number: int, client_id: str, password: str | None) -> str:
    user = await accounts.create(runtime, username=f"person{number}", password=password, actor="bench")
    now, audience = runtime.now(), runtime.settings.resource
    agreed = f"{SCOPE} {WITHOUT_ID_TOKEN}"
    session, cookie = await sessions.begin(
        runtime, user.id, acr="aal1", amr=("pwd",), user_agent="bench", address="127.0.0.1"
    )
    await runtime.database.write(
        consents.remember_consent,
        user.id,
        client_id,
        audience,
        session_id=session.id,
        scope=tuple(agreed.split()),
        now=now,
    )
    return f"ww-session={urllib.parse.quote(cookie)}"


def _first_token(server: Server, started: float) -> float:
    while time.perf_counter() - started < PATIENCE:
        with contextlib.suppress(OSError):
            server.fetch(grant_type="client_credentials", scope="read")
            return time.perf_counter() - started
        time.sleep(0.005)
    raise RuntimeError("the server did not issue a token in time")
