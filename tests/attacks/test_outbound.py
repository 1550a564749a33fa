"""Addresses that somebody else names (SS-01): whatever makes this server fetch something, nothing private is ever asked."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.fixtures.documents import Documents
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server, open_server
from tests.fixtures.trusted_issuers import KEY, identity
from tests.flows.test_client_credentials import assertion

from watchword import fetch
from watchword.fetch import FetchError
from watchword.flows.clients import client_documents
from watchword.flows.outbound import Outbound
from watchword.flows.trust import trust_rules
from watchword.flows.trust.trust_rules import TrustInput
from watchword.jose import jwk
from watchword.oauth.errors import OAuthError

PUBLIC = "93.184.215.14"
PRIVATE = [
    "https://127.0.0.1/x",
    "https://[::1]/x",
    "https://0.0.0.0/x",
    "https://10.0.0.1/x",
    "https://172.16.0.1/x",
    "https://192.168.1.1/x",
    "https://169.254.169.254/latest/meta-data",
    "https://168.63.129.16/x",
    "https://100.64.0.1/x",
    "https://2130706433/x",
    "https://0x7f.1/x",
    "https://127.1/x",
    "https://[::ffff:127.0.0.1]/x",
    "https://[::ffff:169.254.169.254]/x",
    "https://[64:ff9b::7f00:1]/x",
    "https://[2002:7f00:1::]/x",
    "https://[fd00::1]/x",
    "https://[fe80::1%25eth0]/x",
    "https://localhost/x",
    "https://localhost:22/x",
    "https://user@93.184.215.14/x",
    "https://93.184.215.14:22/x",
    "http://93.184.215.14/x",
    "file:///etc/passwd",
    "gopher://127.0.0.1/x",
]


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A server as it is in production: loopback is as closed as any private network."""
    async with open_server(tmp_path, registration="open", registrations_per_hour=10_000) as opened:
        yield opened


class Network:
    """What is listening on this machine, and every address that the server tries to reach."""

    def __init__(self, documents: Documents) -> None:
        self.documents = documents
        self.reached: list[str] = []

    async def request(self, _order: Any, target: Any, address: Any) -> Any:
        """Note where a request would go, without sending it."""
        self.reached.append(str(address))
        raise FetchError("nobody sends anything in this test")


@pytest.fixture
def network(documents: Documents, monkeypatch: pytest.MonkeyPatch) -> Network:
    """The network, so that nothing leaves this machine whatever the outcome."""
    made = Network(documents)
    monkeypatch.setattr("watchword.fetch.request._request", made.request)
    return made


async def by_jwks_uri(server: Server, address: str) -> None:
    """Make the server look for a client's keys."""
    key = jwk.generate("ES256")
    try:
        made = await server.client(token_endpoint_auth_method="private_key_jwt", jwks_uri=address)
    except OAuthError as error:
        assert error.code == "invalid_client_metadata"  # noqa: PT017 - refused even earlier
        return
    answer = await server.http.post("/token", data=assertion(server, key, made.client.client_id))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def by_sector(server: Server, address: str) -> None:
    """Make the server look for a sector document."""
    given = {"redirect_uris": ["https://app.example.com/cb"], "subject_type": "pairwise"}
    answer = await server.http.post("/register", json=given | {"sector_identifier_uri": address})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client_metadata")


async def by_client_document(server: Server, address: str) -> None:
    """Make the server look for a client's own description."""
    parameters = {"client_id": address, "response_type": "code", "redirect_uri": "https://app.example.com/cb"}
    assert (await server.http.get("/authorize", params=parameters)).status_code == 400


async def by_trust_rule(server: Server, address: str) -> None:
    """Make the server look for an outside issuer's keys."""
    client = await server.client(grant_types=["jwt_bearer"])
    given = {"name": f"ci {address}"[:100], "scope": "orders:read", "claims": {"repository": "acme/app"}}
    try:
        rule = TrustInput(**given, issuer="https://ci.example", subject="ci:{sub}", jwks_uri=address)  # type: ignore[arg-type]  # a table
        await trust_rules.create(server.runtime, rule, actor="test")
    except OAuthError:
        return
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": identity(server, key=KEY),
    }
    answer = await server.post("/token", client, **form)
    await trust_rules.delete(server.runtime, str(given["name"]), actor="test")
    assert answer.status_code in (400, 503)
    assert "access_token" not in answer.text


WAYS = {
    "jwks_uri": by_jwks_uri,
    "sector_identifier_uri": by_sector,
    "client document": by_client_document,
    "trust rule": by_trust_rule,
}


@pytest.mark.parametrize("way", WAYS)
async def test_ss_01_no_address_that_a_stranger_names_leads_inside(
    server: Server, network: Network, way: str
) -> None:
    listening = network.documents.publish("/keys", {"keys": []})
    inside = listening.replace("http://", "https://")
    for address in (*PRIVATE, listening, inside, inside.replace("localhost", "127.0.0.1")):
        await WAYS[way](server, address)
    assert network.reached == [], "nothing was even connected to"
    assert not network.documents.asked
    if way != "client document":
        await WAYS[way](server, f"https://{PUBLIC}/keys")
        assert network.reached == [PUBLIC], "an honest address is asked"


class Slow:
    """Name servers that do not answer for `.slow.example`, and how many look-ups wait for them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answered = threading.Event()
        self.asked: list[str] = []
        self._honest = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self.look_up)

    def look_up(self, host: str, *rest: Any, **more: Any) -> Any:
        """Look a name up as the system does; it waits for servers that do not answer."""
        if not host.endswith(".slow.example"):
            return self._honest(host, *rest, **more)
        self.asked.append(host)
        self.answered.wait(20)
        raise socket.gaierror


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    """Name servers that do not answer before the test has ended."""
    made = Slow(monkeypatch)
    yield made
    made.answered.set()


async def ask(outbound: Outbound, address: str) -> str:
    """Fetch an address and return why that failed."""
    with pytest.raises(FetchError) as refused:
        await outbound.get(address, max_bytes=1000, allow_loopback=False, now=1.0)
    return refused.value.reason


HERE = "https://localhost/keys"
DECIDED = "address not allowed"  # it was looked up and decided, not turned away


async def test_ss_01_names_that_strangers_let_wait_keep_nobody_else_waiting(
    server: Server, slow: Slow
) -> None:
    addresses = [f"https://n{number}.slow.example/client" for number in range(60)]
    waiting = [asyncio.create_task(by_client_document(server, address)) for address in addresses]
    while server.runtime.strangers.under_way < 32:
        await asyncio.sleep(0)
    # What the server needs for itself and for its own clients still has its turn, threads included.
    found = await asyncio.wait_for(fetch.resolve("localhost", 443), 5)
    assert "127.0.0.1" in found
    assert await ask(server.runtime.outbound, HERE) == DECIDED
    slow.answered.set()
    await asyncio.gather(*waiting)


@pytest.mark.parametrize("whose", ["outbound", "strangers"])
async def test_ss_01_a_name_that_waits_keeps_no_other_name_waiting(
    server: Server, slow: Slow, whose: str
) -> None:
    outbound: Outbound = getattr(server.runtime, whose)
    assert await ask(outbound, HERE) == DECIDED
    slows = [ask(outbound, f"https://n{number}.slow.example/") for number in range(20)]
    waiting = [asyncio.create_task(one) for one in slows]
    async with asyncio.timeout(5):
        while len(slow.asked) < 20:
            await asyncio.sleep(0)
        assert await ask(outbound, f"{HERE}/again") == DECIDED
    slow.answered.set()
    assert set(await asyncio.gather(*waiting)) == {"host not found"}


async def test_ss_01_a_name_is_waited_for_once_however_many_ask(slow: Slow) -> None:
    names = fetch.Names()
    asked = [fetch.fetch("https://one.slow.example/", resolver=names, timeout=0.2) for _ in range(100)]
    ended = await asyncio.gather(*asked, return_exceptions=True)
    assert {str(one) for one in ended} == {"timed out"}
    assert slow.asked == ["one.slow.example"]
    assert await names("localhost", 443), "and another is looked up beside it"


async def test_mc_50_nobody_fills_the_table_of_clients_with_documents(
    tmp_path: Path, documents: Documents
) -> None:
    async with open_server(tmp_path, fetch_allow_loopback=True, registrations_per_hour=3) as server:
        made = [documents.describe(f"/client{number}") for number in range(5)]
        found = [await client_documents.find(server.runtime, address) is not None for address in made]
        assert found == [True, True, True, False, False]
        assert await client_documents.find(server.runtime, made[0]) is not None
        server.clock.advance(1200)
        assert await client_documents.find(server.runtime, made[3]) is not None, "there is room again"
        assert await client_documents.find(server.runtime, made[0]) is not None, (
            "one that is known needs none"
        )


@in_turn("field", ["jwks_uri", "sector_identifier_uri", "backchannel_logout_uri"])
@in_turn(
    "address",
    [
        "https://[",
        "https://[::1",
        "http://[",
        "https://a b/",
        "https://app.example.com/x\r\nset-cookie: a=b",
        "https://user:password@app.example.com/",
        "https://app.example.com/#x",
        "http://localhost.evil.example/keys",
        "http://127.0.0.1.evil.example/keys",
        "https://app.example.com:99999/",
        "https://" + "a" * 1900,
        "https://\u2025/",
    ],
)
async def test_dc_03_what_is_no_address_is_not_registered_as_one(
    server: Server, field: str, address: str
) -> None:
    given: dict[str, Any] = {"redirect_uris": ["https://app.example.com/cb"], "subject_type": "pairwise"}
    assert (await server.http.post("/register", json=given)).status_code == 201
    answer = await server.http.post("/register", json=given | {field: address})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client_metadata")
