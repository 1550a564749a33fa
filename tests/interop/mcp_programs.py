"""The example MCP servers as processes of their own, and a stock client of the MCP Python SDK with a person at its browser."""

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from ssl import SSLContext
from urllib.parse import parse_qs, urlsplit

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata
from tests.fixtures.browser import Browser
from tests.fixtures.commands import environment
from tests.fixtures.mcp_memory import Memory

ROOT = Path(__file__).resolve().parents[2]
CALLBACK = "http://localhost:7777/callback"


@contextmanager
def program(folder: Path, ready: str, *command: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the block ends, which begins when an address answers; its output is in a log beside it."""
    log = folder / f"{Path(command[1]).name}-{urlsplit(ready).port}.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=folder, env=environment() | variables, stdout=stream, stderr=stream
        )  # fmt: skip
    try:
        with httpx.Client() as client:  # one for all attempts: each would read the system's certificates
            for _ in range(600):
                if process.poll() is not None:
                    pytest.fail(f"{command} ended: {log.read_text()}")
                try:
                    client.get(ready)
                    break
                except httpx.HTTPError:
                    time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait(timeout=20)


@contextmanager
def example(folder: Path, name: str, issuer: str, resource: str, **variables: str) -> Iterator[None]:
    """Run an MCP server of `examples/` at the address of a resource, as its first lines say."""
    where = urlsplit(resource)
    named = {"WATCHWORD_URL": issuer, "MCP_URL": resource, "MCP_BASE_URL": f"http://{where.netloc}"}
    ready = f"http://{where.netloc}/.well-known/oauth-protected-resource{where.path}"
    command = ("uvicorn", f"{name}:app", "--port", str(where.port), "--app-dir", str(ROOT / "examples"))
    with program(folder, ready, *command, **named, **variables):
        yield


class Stock:
    """A client of the SDK that knows an MCP server's address and nothing else."""

    def __init__(
        self, resource: str, browser: Browser, *, document: str | None = None, tls: SSLContext | None = None
    ) -> None:
        self.resource, self.browser, self.document, self.tls = resource, browser, document, tls
        self.memory = Memory()
        self.asked: list[str] = []
        self._ended = ""

    async def _redirect(self, address: str) -> None:
        self.asked.append(address)
        self._ended = self.browser.visit(address)

    async def _callback(self) -> AuthorizationCodeResult:
        answer = {name: values[0] for name, values in parse_qs(urlsplit(self._ended).query).items()}
        assert "code" in answer, answer
        return AuthorizationCodeResult(code=answer["code"], state=answer["state"], iss=answer["iss"])

    def know(self, client_id: str, issuer: str) -> None:
        """Remember a public client that the operator registered."""
        self.memory.client = OAuthClientInformationFull(
            client_id=client_id,
            redirect_uris=[CALLBACK],  # type: ignore[list-item]  # the model parses it
            token_endpoint_auth_method="none",
            issuer=issuer,
        )

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Client]:
        """Connect as the SDK's examples do."""
        metadata = OAuthClientMetadata(client_name="A stock client", redirect_uris=[CALLBACK])  # type: ignore[list-item]  # the model parses it
        auth = OAuthClientProvider(
            self.resource, metadata, self.memory, self._redirect, self._callback, client_metadata_url=self.document
        )  # fmt: skip
        async with (
            httpx2.AsyncClient(auth=auth, verify=self.tls or True, timeout=60) as http,
            Client(streamable_http_client(self.resource, http_client=http)) as client,
        ):
            yield client

    async def forecast(self, city: str) -> str:
        """Call the tool of the examples."""
        async with self.connect() as client:
            result = await client.call_tool("forecast", {"city": city})
        return str(result.content[0].text)  # type: ignore[union-attr]  # a text


def browser_of_the_person(**more: str) -> dict[str, str]:
    """Return the variables that make `webbrowser.open` use the browser of the tests."""
    return {"BROWSER": f"{sys.executable} -m tests.fixtures.browser %s &", "PYTHONPATH": str(ROOT)} | more


def with_environment(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    """Set variables of this process."""
    for name, value in variables.items():
        monkeypatch.setenv(
            name, value if name != "PYTHONPATH" else f"{value}{os.pathsep}{os.environ.get(name, '')}"
        )
