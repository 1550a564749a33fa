"""Token status lists at the guard: kept until their time is over, one request for all, and no token accepted whose status is unknown."""

import asyncio
import json
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import pytest
from tests.fixtures.live import Live
from tests.fixtures.other_issuer import OtherIssuer
from tests.fixtures.servers import basic

from watchword.guard import Guard, Refused, background, issuer, statuses
from watchword.guard.presented import Presented
from watchword.jose import jws
from watchword.oauth import status_list
from watchword.testing.clock import Clock

API = "https://api.example.com"


async def ask(guard: Guard, token: str) -> int:
    """Return the status with which a token is answered."""
    try:
        await guard.authenticate(Presented(authorization=(f"Bearer {token}",)))
    except Refused as refused:
        return refused.status
    return 200


def test_a_guard_that_looks_at_lists_learns_of_a_revocation(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statuses, "TTL_BOUNDS", (0.0, 0.05))
    monkeypatch.setattr(statuses, "RETRY", 0.05)
    registered = live.client(scope="orders:read", access_token_status=True)
    headers = {"authorization": basic(registered)}
    asked = {"grant_type": "client_credentials"}
    token = httpx.post(f"{live.issuer}/token", data=asked, headers=headers).json()["access_token"]
    guard = Guard(live.issuer, revocation_feed=False, status_lists=True, clock=live.clock)
    blind = Guard(live.issuer, revocation_feed=False, clock=live.clock)
    assert [background.run(ask(one, token)) for one in (guard, blind)] == [200, 200]
    httpx.post(f"{live.issuer}/revoke", data={"token": token}, headers=headers)
    live.clock.advance(1)
    background.run(asyncio.sleep(0.1))
    assert [background.run(ask(one, token)) for one in (guard, blind)] == [401, 200]
    for one in (guard, blind):
        background.run(one.close())


def serve_list(other: OtherIssuer, *invalid: int, **changes: Any) -> None:
    """Let an issuer serve a list, signed by its first key."""
    uri = f"{other.issuer}/list"
    built = status_list.build(64, ((index, status_list.INVALID) for index in invalid))
    now = int(time.time())
    claims = status_list.token_claims(uri, built, now=now, lifetime=60, ttl=30) | changes
    token = jws.sign(other.keys[0], {"typ": status_list.TOKEN_TYPE}, json.dumps(claims).encode())
    other.documents["/list"] = token.encode()


def place(other: OtherIssuer, index: object) -> dict[str, object]:
    """Return the claim of a token at an index of the list."""
    return {"status_list": {"idx": index, "uri": f"{other.issuer}/list"}}


async def test_lists_of_any_issuer_are_fetched_once_and_believed_when_signed() -> None:
    with OtherIssuer() as other:
        guard = Guard(other.issuer, audience=API, status_lists=True)
        serve_list(other, 7)
        other.delay = 0.05
        found = await asyncio.gather(
            *(ask(guard, other.token(status=place(other, n), jti=str(n))) for n in range(20))
        )
        assert found == [401 if n == 7 else 200 for n in range(20)]
        assert other.asked["/list"] == 1
        assert await ask(guard, other.token()) == 200, "a token without a status has none to look at"
        for bad in (64, -1, "7", True, None):
            assert await ask(guard, other.token(status=place(other, bad))) == 401
        await guard.close()


async def test_a_server_of_lists_that_hangs_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statuses, "TTL_BOUNDS", (0.0, 0.0))
    monkeypatch.setattr(statuses, "RETRY", 0.05)
    monkeypatch.setattr(issuer, "TIMEOUT", 2.0)
    answered = threading.Event()
    with OtherIssuer() as other:
        guard = Guard(other.issuer, audience=API, status_lists=True)
        serve_list(other)
        asked = partial(other.token, status=place(other, 1))
        assert await ask(guard, asked(jti="1")) == 200
        other.documents["/list"] = lambda _: answered.wait(20)
        assert await ask(guard, asked(jti="2")) == 200, "the list at hand may still be used"
        for again in range(3):
            await asyncio.sleep(0.06)
            async with asyncio.timeout(1.5):
                assert await ask(guard, asked(jti=f"again {again}")) == 200
        answered.set()
        serve_list(other, 1)
        async with asyncio.timeout(10):
            while await ask(guard, asked(jti="revoked")) == 200:
                await asyncio.sleep(0.05)
        await guard.close()


async def test_a_failure_of_long_ago_keeps_no_list_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statuses, "TTL_BOUNDS", (0.0, 0.0))
    monkeypatch.setattr(statuses, "RETRY", 0.05)
    monkeypatch.setattr(statuses, "UNAWAITED", 0.2)
    with OtherIssuer() as other:
        guard = Guard(other.issuer, audience=API, status_lists=True)
        serve_list(other)
        asked = partial(other.token, status=place(other, 1))
        assert await ask(guard, asked(jti="1")) == 200
        other.up = False
        assert await ask(guard, asked(jti="2")) == 200
        other.up = True
        serve_list(other, 1)
        await asyncio.sleep(0.4)
        assert await ask(guard, asked(jti="3")) == 401, "the first to ask learns of the revocation"
        await guard.close()


async def test_lists_that_cannot_be_fetched_take_only_so_much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statuses, "MAX_LISTS", 3)
    with OtherIssuer() as other:
        guard = Guard(other.issuer, audience=API, status_lists=True)
        serve_list(other)
        for number in range(10):
            nowhere = {"status_list": {"idx": 1, "uri": f"{other.issuer}/nowhere/{number}"}}
            assert await ask(guard, other.token(status=nowhere, jti=str(number))) == 503
        assert await ask(guard, other.token(status=place(other, 1), jti="honest")) == 200
        noted = guard._only._statuses._next_try  # type: ignore[union-attr]  # no LocalVerifier
        await guard.close()
    assert 1 <= len(noted) <= 3


async def test_a_list_that_has_expired_is_used_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statuses, "TTL_BOUNDS", (0.0, 0.0))
    monkeypatch.setattr(statuses, "RETRY", 0.0)
    clock = Clock()
    with OtherIssuer() as other:
        guard = Guard(other.issuer, audience=API, status_lists=True, clock=clock)
        serve_list(other, exp=int(clock.now) + 60)
        asked = partial(other.token, status=place(other, 1))
        assert await ask(guard, asked(jti="1")) == 200
        del other.documents["/list"]
        clock.advance(59)
        assert await ask(guard, asked(jti="2")) == 200, "the list at hand may still be used"
        clock.advance(1)
        assert await ask(guard, asked(jti="3")) == 503
        await guard.close()


def in_hexadecimal(handler: BaseHTTPRequestHandler) -> None:
    """Answer with what Python has a codec for, and is no character set."""
    handler.send_response(200)
    handler.send_header("content-type", "text/plain; charset=hex")
    handler.send_header("content-length", "4")
    handler.end_headers()
    handler.wfile.write(b"6565")


@pytest.mark.parametrize("trouble", ["gone", "another's", "unsigned", "over", "no text"])
async def test_a_token_whose_status_cannot_be_told_is_not_accepted(trouble: str) -> None:
    with OtherIssuer() as other, OtherIssuer() as stranger:
        guard = Guard(other.issuer, audience=API, status_lists=True)
        serve_list(other)
        assert await ask(guard, other.token(status=place(other, 1))) == 200
        await guard.close()
        if trouble == "gone":
            del other.documents["/list"]
        elif trouble == "another's":
            serve_list(other, sub=f"{other.issuer}/other-list")
        elif trouble == "over":
            serve_list(other, exp=1)
        elif trouble == "no text":
            other.documents["/list"] = in_hexadecimal
        else:
            serve_list(stranger, sub=f"{other.issuer}/list")
            other.documents["/list"] = stranger.documents["/list"]
        afresh = Guard(other.issuer, audience=API, status_lists=True)
        assert await ask(afresh, other.token(status=place(other, 1))) == 503
        await afresh.close()
