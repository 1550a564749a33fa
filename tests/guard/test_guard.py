"""The guard in front of a real API and the real server: what it accepts and refuses, beside what `test_conformance.py` asks of every framework."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from tests.fixtures.commands import run_cli
from tests.fixtures.live import Live
from tests.fixtures.servers import Process, Server, free_port, serve

from watchword.flows import api_tokens
from watchword.flows.api_tokens import TokenInput
from watchword.flows.clients import client_registry
from watchword.flows.clients.client_metadata import ClientInput
from watchword.guard import Refused
from watchword.guard.fastapi import Guard, Principal
from watchword.guard.presented import Presented
from watchword.jose import jwk, jwt


def make_api(guard: Guard) -> FastAPI:
    """Return an API with an endpoint that reads."""
    api = FastAPI()

    @api.get("/orders")
    async def read(who: Principal = guard.require("orders:read")) -> dict[str, str]:
        return {"sub": who.subject, "kind": who.kind}

    return api


@pytest_asyncio.fixture
async def api(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """The API, guarded by the server in the same process."""
    guard = Guard(server.app, clock=server.clock)
    transport = httpx.ASGITransport(app=make_api(guard), client=("127.0.0.1", 5000))
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    """Return the header that presents a token."""
    return {"authorization": f"Bearer {token}"}


async def test_every_kind_of_token_becomes_one_principal(server: Server, api: httpx.AsyncClient) -> None:
    token = (await server.token()).secret
    client = await server.client()
    opaque = await server.client(access_token_format="opaque")
    tokens = {
        token: "api_token",
        (await server.grant(client)).json()["access_token"]: "access_token",
        (await server.grant(opaque)).json()["access_token"]: "access_token",
    }
    for presented, kind in tokens.items():
        answer = await api.get("/orders", headers=bearer(presented))
        assert (answer.status_code, answer.json()["kind"]) == (200, kind)


async def test_what_is_no_token_is_refused(api: httpx.AsyncClient) -> None:
    for token in ("garbage", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "wwr_" + "0" * 30 + "0g1Jua"):
        refused = await api.get("/orders", headers=bearer(token))
        assert refused.status_code == 401, token
        assert 'error="invalid_token"' in refused.headers["www-authenticate"], token


async def test_a_replaced_secret_ends_at_its_time_though_nothing_else_changes(
    server: Server, api: httpx.AsyncClient
) -> None:
    token = await server.token()
    await api_tokens.rotate(server.runtime, token.token.id, overlap=600, actor="test")
    assert (await api.get("/orders", headers=bearer(token.secret))).status_code == 200
    server.clock.advance(599)
    assert (await api.get("/orders", headers=bearer(token.secret))).status_code == 200
    server.clock.advance(1)
    assert (await api.get("/orders", headers=bearer(token.secret))).status_code == 401


async def test_a_limited_token_is_checked_with_every_request(server: Server, api: httpx.AsyncClient) -> None:
    here = await server.token(addresses=["127.0.0.0/8"], path="/orders")
    elsewhere = await server.token(addresses=["192.0.2.0/24"])
    twice = await server.token(quota=2)
    assert (await api.get("/orders", headers=bearer(here.secret))).status_code == 200
    assert (await api.get("/orders", headers=bearer(elsewhere.secret))).status_code == 401
    statuses = [(await api.get("/orders", headers=bearer(twice.secret))).status_code for _ in range(3)]
    assert statuses == [200, 200, 401]


@pytest.mark.parametrize("where", ["in the process", "over HTTP"])
async def test_a_proxy_that_tells_the_port_of_a_caller_keeps_nobody_out(live: Live, where: str) -> None:
    wanted = TokenInput(name="t", scope="read", addresses=("192.0.2.0/24", "2001:db8::/32"))
    owner = ("application", "application:o")
    made = live.run(api_tokens.create(live.runtime, wanted, owner=owner, actor="test"))
    issuer: Any = live.app if where.startswith("in ") else live.issuer
    guard = Guard(issuer, audience=live.issuer, clock=live.clock)

    async def status(address: str) -> int:
        presented = Presented(authorization=(f"Bearer {made.secret}",), address=address)
        try:
            return 200 if await guard.authenticate(presented) else 0
        except Refused as refused:
            return refused.status

    for near in ("192.0.2.7", "192.0.2.7:52114", "[2001:db8::7]:52114"):
        assert await status(near) == 200, near
    assert await status("198.51.100.7:52114") == 401
    await guard.close()


def dpop(key: jwk.Key, token: str, now: float, **changes: object) -> dict[str, str]:
    """Return the headers of a bound token with its proof, some claims changed."""
    import hashlib

    ath = jwk.b64encode(hashlib.sha256(token.encode()).digest())
    claims: dict[str, object] = {
        "jti": os.urandom(8).hex(),
        "htm": "GET",
        "htu": "http://api.test/orders",
        "iat": int(now),
        "ath": ath,
    }
    return {"authorization": f"DPoP {token}", "dpop": jwt.encode_with_key(key, claims | changes, "dpop+jwt")}


async def test_a_bound_token_needs_its_own_fresh_proof(server: Server, api: httpx.AsyncClient) -> None:
    key, other = jwk.generate("ES256"), jwk.generate("ES256")
    token = (await server.token(jkt=key.thumbprint)).secret
    now = server.clock()
    honest = dpop(key, token, now)
    assert (await api.get("/orders", headers=honest)).status_code == 200
    assert (await api.get("/orders", headers=honest)).status_code == 401, "a proof works once"
    assert (await api.get("/orders", headers=bearer(token))).status_code == 401, "without a proof"
    assert (await api.get("/orders", headers=dpop(other, token, now))).status_code == 401, "another key"
    both = [*dpop(key, token, now).items(), *list(dpop(key, token, now).items())[-1:]]
    several = await api.get("/orders", headers=both)
    assert several.status_code == 401
    assert 'error="invalid_dpop_proof"' in several.headers["www-authenticate"], "RFC 9449 §4.3 (1)"
    for member, value in {
        "htm": "POST",
        "htu": "http://evil.test/orders",
        "iat": 1,
        "ath": "x",
        "jti": "",
    }.items():
        refused = await api.get("/orders", headers=dpop(key, token, now, **{member: value}))
        assert refused.status_code == 401, member
        assert refused.headers["www-authenticate"].startswith("DPoP")


async def test_who_runs_the_api_is_told_which_address_a_proof_should_have_been_made_for(
    server: Server, api: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    key = jwk.generate("ES256")
    token = (await server.token(jkt=key.thumbprint)).secret
    sent = dpop(key, token, server.clock(), htu="https://shop.example.com/orders")
    with caplog.at_level("INFO", "watchword.guard"):
        refused = await api.get("/orders", headers=sent)
    assert (refused.status_code, "api.test" in refused.headers["www-authenticate"]) == (401, False)
    (told,) = [one.getMessage() for one in caplog.records if one.name == "watchword.guard"]
    assert "made for another address; the request came to 'http://api.test/orders'" in told
    assert token not in told
    assert sent["dpop"] not in told


async def test_a_token_that_is_used_too_often_is_told_to_wait(server: Server, api: httpx.AsyncClient) -> None:
    token = (await server.token(rate_limit=1)).secret
    assert (await api.get("/orders", headers=bearer(token))).status_code == 200
    refused = await api.get("/orders", headers=bearer(token))
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
    assert "www-authenticate" not in refused.headers, "nothing is wrong with the token"
    server.clock.advance(60)
    assert (await api.get("/orders", headers=bearer(token))).status_code == 200


async def test_the_openapi_document_names_the_scheme(api: httpx.AsyncClient) -> None:
    document = (await api.get("/openapi.json")).json()
    scheme = document["components"]["securitySchemes"]["Watchword"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert document["paths"]["/orders"]["get"]["security"] == [{"Watchword": ["orders:read"]}]


def token_of(process: Process, *options: str) -> tuple[str, str]:
    """Create a token by the command line; return its identifier and secret."""
    import json

    done = run_cli(
        process.folder, "token", "create", "t", "--owner", "o", "--scope", "orders:read", *options, "--json"
    )
    document = json.loads(done.stdout)
    return document["id"], document["token"]


async def test_a_remote_server_is_asked_and_its_revocation_noticed_within_the_bound(tmp_path: Path) -> None:
    with serve(tmp_path) as process:
        token_id, token = token_of(process)
        guard = Guard(process.issuer)
        transport = httpx.ASGITransport(app=make_api(guard), client=("127.0.0.1", 5000))
        async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
            assert (await client.get("/orders", headers=bearer(token))).status_code == 200
            run_cli(tmp_path, "token", "revoke", token_id)
            revoked = time.monotonic()
            while (await client.get("/orders", headers=bearer(token))).status_code == 200:
                assert time.monotonic() - revoked < 5, "the answer is remembered for one second only"
        await guard.close()


async def test_requests_at_once_with_a_limited_token_are_counted_one_by_one(live: Live) -> None:
    wanted = TokenInput(name="t", scope="orders:read", quota=3)
    made = live.run(
        api_tokens.create(live.runtime, wanted, owner=("application", "application:o"), actor="test")
    )
    guard = Guard(live.issuer, clock=live.clock)
    transport = httpx.ASGITransport(app=make_api(guard), client=("127.0.0.1", 5000))
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        assert (await client.get("/orders", headers=bearer(made.secret))).status_code == 200
        asked = [client.get("/orders", headers=bearer(made.secret)) for _ in range(4)]
        statuses = sorted([answer.status_code for answer in await asyncio.gather(*asked)])
    assert statuses == [200, 200, 401, 401]
    await guard.close()


@pytest.mark.parametrize("where", ["in the server's process", "elsewhere", "elsewhere, as a client"])
@pytest.mark.parametrize("limit", [{"rate_limit": 2}, {"quota": 2}], ids=["rate", "quota"])
async def test_a_limited_token_of_another_api_is_refused_without_being_used_or_told_to_wait(
    live: Live, where: str, limit: dict[str, int]
) -> None:
    ours, theirs = "https://ours.example.com", "https://theirs.example.com"
    wanted = TokenInput(name="t", scope="orders:read", resource=theirs, **limit)
    token = live.run(
        api_tokens.create(live.runtime, wanted, owner=("application", "application:o"), actor="test")
    ).secret
    made = ClientInput(name="both", scope="introspect", resources=(ours, theirs))
    client = live.run(client_registry.register(live.runtime, made, actor="test"))
    proof = {"client_id": client.client.client_id, "client_secret": client.client_secret}

    def guard_of(audience: str) -> Guard:
        issuer = live.app if where.startswith("in ") else live.issuer
        known = proof if where.endswith("client") else {}
        return Guard(issuer, audience=audience, clock=live.clock, **known)

    async def enter(guard: Guard) -> tuple[int, str]:
        presented = Presented(authorization=(f"Bearer {token}",), address="127.0.0.1")
        try:
            await guard.authenticate(presented)
        except Refused as refused:
            return refused.status, refused.description
        return 200, ""

    wrong, right = guard_of(ours), guard_of(theirs)
    elsewhere = (401, "The token is meant for another API.")
    assert [await enter(wrong) for _ in range(3)] == [elsewhere] * 3
    assert [(await enter(right))[0] for _ in range(2)] == [200, 200], "nothing was used up"
    assert (await enter(right))[0] == (429 if "rate_limit" in limit else 401)
    assert await enter(wrong) == elsewhere, "and nobody is told to come back with it"
    for guard in (wrong, right):
        await guard.close()


async def test_an_issuer_out_of_reach_is_503_and_never_401() -> None:
    guard = Guard(f"http://localhost:{free_port()}")
    transport = httpx.ASGITransport(app=make_api(guard))
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        key = jwk.generate("ES256")
        token = jwt.encode(key, {"iss": guard.issuer, "sub": "x"}, "at+jwt")
        answer = await client.get("/orders", headers=bearer(token))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        garbled = "wwa_" + "0" * 36
        assert (await client.get("/orders", headers=bearer(garbled))).status_code == 401, (
            "nobody had to be asked"
        )
    await guard.close()


def test_an_issuer_in_the_clear_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="https"):
        Guard("http://auth.example.com")
