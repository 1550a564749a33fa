"""Stock MCP clients that know an MCP server's address and nothing else: discovery, introduction, sign-in, consent, tool call."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from fastmcp import Client as FastMcpClient
from tests.fixtures import certificates
from tests.fixtures.browser import PASSWORD, Browser
from tests.fixtures.certificates import Pair
from tests.fixtures.commands import run_cli
from tests.fixtures.loopback import LoopbackServer
from tests.fixtures.servers import free_port
from tests.interop.conftest import Installation
from tests.interop.mcp_programs import (
    CALLBACK,
    ROOT,
    Stock,
    browser_of_the_person,
    example,
    program,
    with_environment,
)

MANUAL = (ROOT / "docs" / "how-to" / "mcp.md").read_text("utf-8")


@dataclass(frozen=True, slots=True)
class Newcomer:
    """What somebody has who did what the manual says: a server for development, and the address of an MCP server."""

    folder: Path
    issuer: str
    resource: str

    def browser(self) -> Browser:
        """Return a browser of its own."""
        return Browser(self.issuer)


def settings_of_the_manual(resource: str) -> str:
    """Return the settings that the manual shows, with the address of this test's MCP server."""
    shown = re.search(r"```toml\n(.*?)```", MANUAL, re.DOTALL)
    assert shown is not None
    assert "http://localhost:8001/mcp" in shown[1]
    return shown[1].replace("http://localhost:8001/mcp", resource)


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    """`watchword dev` in a folder with the settings of the manual, and one person."""
    folder, port = tmp_path_factory.mktemp("newcomer"), free_port()
    resource = f"http://localhost:{free_port()}/mcp"
    (folder / "watchword.toml").write_text(settings_of_the_manual(resource))
    issuer = f"http://localhost:{port}"
    with program(folder, f"{issuer}/healthz", "watchword", "dev", "--port", str(port)):
        made = run_cli(
            folder, "user", "create", "ada", "--password-stdin", "--database", "watchword-dev.db", stdin=PASSWORD
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        yield Newcomer(folder, issuer, resource)


@pytest.mark.parametrize("server", ["mcp_server", "fastmcp_server"])
async def test_the_sdks_client_gets_through_with_nothing_but_an_address(
    newcomer: Newcomer, server: str
) -> None:
    stock = Stock(newcomer.resource, newcomer.browser())
    with example(newcomer.folder, server, newcomer.issuer, newcomer.resource):
        assert (await stock.forecast("Oslo")).startswith("Sunny in Oslo, user_")
        again = await stock.forecast("Rome")
    assert again.startswith("Sunny in Rome")
    assert len(stock.asked) == 1, "the second connection needs no person"
    sent = parse_qs(urlsplit(stock.asked[0]).query)
    assert sent["resource"] == [newcomer.resource]
    assert sent["scope"] == ["weather:read offline_access"]
    assert stock.memory.tokens is not None
    assert stock.memory.tokens.refresh_token


@pytest.mark.parametrize("server", ["mcp_server", "fastmcp_server"])
async def test_fastmcps_client_gets_through_with_nothing_but_an_address(
    newcomer: Newcomer, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_environment(monkeypatch, browser_of_the_person())
    with example(newcomer.folder, server, newcomer.issuer, newcomer.resource):
        async with FastMcpClient(newcomer.resource, auth="oauth") as client:
            result = await client.call_tool("forecast", {"city": "Bern"})
    assert result.content[0].text.startswith("Sunny in Bern, user_")  # type: ignore[union-attr]  # a text


async def test_a_client_that_the_operator_registered_gets_through(newcomer: Newcomer) -> None:
    command = re.search(
        r'^watchword client create "My assistant".*?(?=\n```)', MANUAL, re.DOTALL | re.MULTILINE
    )
    assert command is not None
    words = command[0].replace("\\\n", " ").replace("https://api.example.com/mcp", newcomer.resource)
    arguments = [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', words)][1:]
    made = run_cli(newcomer.folder, *arguments, "--database", "watchword-dev.db", "--json")
    assert made.returncode == 0, made.stdout + made.stderr
    client_id = json.loads(made.stdout)["client_id"]
    with example(newcomer.folder, "mcp_server", newcomer.issuer, newcomer.resource):
        stock = Stock(newcomer.resource, newcomer.browser())
        stock.know(client_id, newcomer.issuer)
        assert (await stock.forecast("Wien")).startswith("Sunny in Wien, user_")
    assert parse_qs(urlsplit(stock.asked[0]).query)["client_id"] == [client_id]


@pytest.fixture
def published(tmp_path: Path, authority: tuple[Pair, Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A client's metadata document on an https address of its own: the address, and what it says."""
    document: dict[str, Any] = {}

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": json.dumps(document).encode()})

    own = certificates.make(tmp_path, "documents", issuer=authority[0], names=certificates.LOCALHOST)
    with LoopbackServer(app, tls=certificates.serving(own)) as server:
        address = f"https://localhost:{server.port}/client.json"
        document |= {
            "client_id": address,
            "client_name": "A wandering client",
            "redirect_uris": [CALLBACK],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        }
        yield address, document


async def test_a_client_is_known_by_its_document(
    installation: Installation, published: tuple[str, dict[str, Any]], tmp_path: Path
) -> None:
    trust = {"SSL_CERT_FILE": str(installation.authority)}
    stock = Stock(installation.resource, installation.browser(), document=published[0], tls=installation.tls)
    with example(tmp_path, "mcp_server", installation.issuer, installation.resource, **trust):
        assert (await stock.forecast("Lima")).startswith("Sunny in Lima, user_")
    assert parse_qs(urlsplit(stock.asked[0]).query)["client_id"] == [published[0]]
