"""Floods of requests that need no proof: what they leave in the database is bounded by address, and whoever else is there is served."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from tests.fixtures.people import PASSWORD, Person
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, open_server
from tests.flows.test_authorization_code import register, request

from watchword.flows.clients.client_registry import Registered
from watchword.flows.users import accounts
from watchword.settings import Upstream
from watchword.store.database import Transaction

LIMIT = 12
FLOOD, ELSEWHERE = "198.51.100.7", "203.0.113.9"
HERE, SAME_NETWORK, OTHER_NETWORK = "2001:db8:0:7::1", "2001:db8:0:7:ffff::2", "2001:db8:0:8::1"
Ask = Callable[[httpx.AsyncClient, Registered], Awaitable[httpx.Response]]


@pytest_asyncio.fixture
async def server(store: Store, tmp_path: Path) -> AsyncIterator[Server]:
    """A server with a small limit."""
    hub = Upstream(name="hub", title="The Hub", client_id="us", kind="github")
    async with open_server(
        tmp_path,
        database=store.address,
        key_file=str(tmp_path / "key"),
        mode="development",
        anonymous_per_minute=LIMIT,
        upstream=(hub,),
    ) as opened:
        yield opened


def at(server: Server, address: str) -> httpx.AsyncClient:
    """Return a fresh browser behind an address."""
    transport = httpx.ASGITransport(app=server.app, client=(address, 50_000))
    return httpx.AsyncClient(transport=transport, base_url=server.settings.issuer)


async def authorize(browser: httpx.AsyncClient, client: Registered) -> httpx.Response:
    return await browser.get("/authorize", params=request(client))


async def push(browser: httpx.AsyncClient, client: Registered) -> httpx.Response:
    return await browser.post("/par", data=request(client))


async def foreign_form(browser: httpx.AsyncClient, client: Registered) -> httpx.Response:
    """A form of another site that is too long for an address, which is kept as if pushed."""
    form = request(client) | {"unknown": "x" * 7000}
    return await browser.post("/authorize", data=form, headers={"sec-fetch-site": "cross-site"})


async def device(browser: httpx.AsyncClient, client: Registered) -> httpx.Response:
    form = {"client_id": client.client.client_id, "scope": "openid"}
    return await browser.post("/device_authorization", data=form)


async def provider(browser: httpx.AsyncClient, _: Registered) -> httpx.Response:
    return await browser.get("/upstream/hub")


ASKED: dict[str, tuple[Ask, int, str]] = {
    "an authorization request": (authorize, 303, "interactions"),
    "a pushed request": (push, 201, "pushed_requests"),
    "a long form of another site": (foreign_form, 303, "pushed_requests"),
    "a device code": (device, 200, "device_codes"),
    "a sign-in at a provider": (provider, 303, "used_identifiers"),
}


async def rows(server: Server, table: str) -> int:
    """Return how many rows a table has."""

    async def count(tx: Transaction) -> int:
        row = await tx.one(f"SELECT COUNT(*) AS n FROM {table}")
        return int(row["n"]) if row else 0

    return await server.runtime.database.read(count)


async def public(server: Server) -> Registered:
    """Register a client that anybody can speak for."""
    return await register(
        server,
        token_endpoint_auth_method="none",
        grant_types=["authorization_code", "refresh_token", "device_code"],
    )


@pytest.mark.parametrize("what", ASKED)
async def test_a_flood_of_anonymous_requests_fills_nothing_and_keeps_nobody_else_out(
    server: Server, what: str
) -> None:
    ask, honest, table = ASKED[what]
    client, flood = await public(server), at(server, FLOOD)
    answers = [await ask(at(server, FLOOD), client) for _ in range(3 * LIMIT)]
    assert [answer.status_code for answer in answers] == [honest] * LIMIT + [429] * 2 * LIMIT
    assert await rows(server, table) <= LIMIT
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert (await ask(at(server, ELSEWHERE), client)).status_code == honest, "whoever is elsewhere is served"
    server.clock.advance(int(answers[-1].headers["retry-after"]))
    assert (await ask(flood, client)).status_code == honest, "it slows and locks nobody out"
    assert (await ask(flood, client)).status_code == 429


@pytest.mark.parametrize("passed", [0.6, 2.5, 4.6])
async def test_who_waits_as_told_is_not_refused_again(server: Server, passed: float) -> None:
    client, flood = await public(server), at(server, FLOOD)
    for _ in range(LIMIT + 1):
        answer = await authorize(flood, client)
    assert answer.status_code == 429
    server.clock.advance(passed)
    told = int((await authorize(flood, client)).headers["retry-after"])
    server.clock.advance(told)
    assert (await authorize(flood, client)).status_code == 303, "RFC 9110 §10.2.3"


async def test_a_network_of_ipv6_is_one_source(server: Server) -> None:
    client = await public(server)
    for _ in range(LIMIT):
        assert (await authorize(at(server, HERE), client)).status_code == 303
    assert (await authorize(at(server, SAME_NETWORK), client)).status_code == 429
    assert (await authorize(at(server, OTHER_NETWORK), client)).status_code == 303


async def test_who_is_signed_in_or_authenticates_is_not_counted(server: Server) -> None:
    client, confidential = await public(server), await register(server)
    await accounts.create(server.runtime, username="ada", password=PASSWORD, actor="test")
    ada = Person(server, at(server, FLOOD))
    await ada.sign_in()
    assert ada.path == "/account"
    for ask, *_ in ASKED.values():
        while (await ask(at(server, FLOOD), client)).status_code != 429:
            pass
    for _ in range(2 * LIMIT):
        shown = await authorize(ada.http, client)
        assert shown.status_code == 200, "her consent page"
        pushed = await server.post("/par", confidential, **request(confidential))
        assert pushed.status_code == 201
    browser, pushed_by = at(server, FLOOD), {"client_id": confidential.client.client_id}
    asked = await browser.get("/authorize", params=pushed_by | {"request_uri": pushed.json()["request_uri"]})
    assert asked.status_code == 303, "what a client pushed was counted, or not, when it did"


async def test_a_person_who_came_too_late_reads_so_and_a_program_gets_the_protocols_words(
    server: Server,
) -> None:
    client = await public(server)
    for _ in range(LIMIT):
        await authorize(at(server, FLOOD), client)
        await push(at(server, FLOOD), client)
    page = await authorize(at(server, FLOOD), client)
    assert page.headers["content-type"].startswith("text/html")
    assert "location" not in page.headers
    answer = await push(at(server, FLOOD), client)
    assert answer.json()["error"] == "too_many_requests"
